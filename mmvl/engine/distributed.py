"""Joining a group of processes on machines without a GPU, and leaving any group in order."""

import gc
import os
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# How long a process waits for the others before it gives up, unless the config says otherwise.
TIMEOUT_SECONDS = 600
# The variable in which each launcher says which process this is.
RANK_OF = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}

# Set by torchrun, and by our own supervisor, for every attempt.
RESTARTS = 'TORCHELASTIC_RESTART_COUNT'
# How long a process that lost contact waits for the notes of the others.
GRACE_SECONDS = 3.0
# What the backends write when another process is gone.
LOST = ('gloo', 'nccl', 'connection', 'timed out', 'timeout', 'peer')


class RankLostError(ConnectionError):
    """Another process of the group died, raised or stalled."""


def join_group(backend: str, launcher: str, timeout: int) -> None:
    """Join the process group where MMEngine's own start-up cannot: without a GPU, or again.

    Args:
        backend: 'gloo' or 'nccl'.
        launcher: 'pytorch' (torchrun), 'slurm' or 'mpi', which say where rank and size are found.
        timeout: seconds to wait for the other processes.

    Raises:
        KeyError: the variables that the launcher sets are absent.
    """
    if launcher in ('slurm', 'mpi'):
        _adopt({'RANK': RANK_OF[launcher]})
    if launcher == 'slurm':
        _adopt({'WORLD_SIZE': 'SLURM_NTASKS', 'LOCAL_RANK': 'SLURM_LOCALID'})
        if 'MASTER_ADDR' not in os.environ:
            nodes = os.environ['SLURM_NODELIST']
            listing = subprocess.check_output(['scontrol', 'show', 'hostname', nodes], text=True)
            os.environ['MASTER_ADDR'] = listing.split()[0]
    elif launcher == 'mpi':
        _adopt({key: f'OMPI_COMM_WORLD_{key}' for key in ('WORLD_SIZE', 'LOCAL_RANK')})
    os.environ.setdefault('MASTER_PORT', '29500')
    missing = [key for key in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if key not in os.environ]
    if missing:
        raise KeyError(
            f'--launcher {launcher} needs {", ".join(missing)} in the environment.\n'
            'What to do: start through tools/dist_train.sh or torchrun.'
        )
    os.environ.setdefault('LOCAL_RANK', os.environ['RANK'])
    options: dict[str, Any] = {'timeout': timedelta(seconds=timeout)}
    if restart_number():
        # torchrun keeps its store from one attempt to the next, with addresses of the dead in it
        options['store'] = dist.PrefixStore(f'attempt_{restart_number()}', _store(timeout))
        options.update({key.lower(): int(os.environ[key]) for key in ('RANK', 'WORLD_SIZE')})
    if backend != 'gloo':
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']))
    dist.init_process_group(backend, **options)


def leave_together(run: Callable[[], object]) -> None:
    """Run a training or a test, then let its processes end together, also after an interrupt.

    One that ends while another still talks to it makes that one abort. After an error nobody
    waits for long: each process notes its end, one that lost contact says who did not, and the
    launcher stops what is left.

    Raises:
        RankLostError: another process died, raised or stalled.
    """
    ended = None
    try:
        run()
    except SystemExit as error:
        # without the frames, which would keep the wrapped model alive
        ended = error.with_traceback(None)
    except Exception as error:
        if dist.is_initialized() and dist.get_world_size() > 1:
            _explain(error)
        raise
    if dist.is_initialized():
        dist.barrier()
        # The wrapped model holds the process group, whose threads abort a closing interpreter;
        # runner, hooks and model refer to each other in circles, so only a collection frees them.
        gc.collect()
        dist.destroy_process_group()
    if ended is not None:
        raise ended


def another_rank_has_failed() -> bool:
    """Whether another process of this group has noted that it ends with an error."""
    try:
        store = _store()
        others = set(range(dist.get_world_size())) - {dist.get_rank()}
        return any(store.check([_end_of(rank)]) for rank in others)
    except (RuntimeError, KeyError):
        return True  # who keeps the notes is gone


def _explain(error: Exception) -> None:
    """Note how this process ends; where it only lost contact, find out with whom.

    Raises:
        RankLostError: in place of an error of the connection.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    name = f'rank {rank} on {socket.gethostname()}'
    text = ' '.join(str(error).split())
    lost = isinstance(error, RuntimeError) and any(word in text.lower() for word in LOST)
    try:
        store = _store()
        store.set(_end_of(rank), name if lost else f'{name} raised {type(error).__name__}: {text}')
        others = [other for other in range(size) if other != rank]
        if not lost:
            return
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and not store.check([_end_of(o) for o in others]):
            time.sleep(0.1)
        notes = {o: store.get(_end_of(o)).decode() for o in others if store.check([_end_of(o)])}
        missing = [f'rank {other}' for other in others if other not in notes]
        raised = [note for note in notes.values() if ' raised ' in note]
        who = '; '.join(raised) or f'{", ".join(missing) or "an unknown rank"} died or stalled'
    except (RuntimeError, KeyError):
        if not lost:
            return
        who = 'rank 0, which keeps the notes of all, died'
    raise RankLostError(
        f'{name} lost contact: {who} ({text[:120]}).\n'
        'What to do: look at the log of that rank; repeat the command with --resume.'
    ) from error


def _store(timeout: float = GRACE_SECONDS) -> dist.TCPStore:
    """Join the store that the launcher or rank 0 keeps for the processes to find each other."""
    host, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    return dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=timeout))


def _end_of(rank: int) -> str:
    return f'mmvl/{restart_number()}/end/{rank}'


def restart_number() -> int:
    """How often the launcher has started this training again, from 0."""
    return int(os.environ.get(RESTARTS, '0'))


def _adopt(names: dict[str, str]) -> None:
    for ours, theirs in names.items():
        if theirs not in os.environ:
            raise KeyError(f'the launcher did not set {theirs}; start through it or use torchrun')
        os.environ[ours] = os.environ[theirs]
