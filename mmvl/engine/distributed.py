"""Joining a group of processes on machines without a GPU, and leaving any group in order."""

import gc
import os
import subprocess
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

# How long a process waits for the others before it gives up, unless the config says otherwise.
TIMEOUT_SECONDS = 600
# The variable in which each launcher says which process this is.
RANK_OF = {'pytorch': 'RANK', 'slurm': 'SLURM_PROCID', 'mpi': 'OMPI_COMM_WORLD_RANK'}


def init_gloo(launcher: str, timeout: int | None = None) -> None:
    """Join the process group on gloo. MMEngine's own start-up selects a CUDA device first.

    Args:
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
    dist.init_process_group('gloo', timeout=timedelta(seconds=timeout or TIMEOUT_SECONDS))


def leave_together(run: Callable[[], object]) -> None:
    """Run a training or a test, then let its processes end together, also after an interrupt.

    One that ends while another still talks to it makes that one abort. After an error nobody
    waits: the launcher stops the others.
    """
    ended = None
    try:
        run()
    except SystemExit as error:
        # without the frames, which would keep the wrapped model alive
        ended = error.with_traceback(None)
    if dist.is_initialized():
        dist.barrier()
        # The wrapped model holds the process group, whose threads abort a closing interpreter;
        # runner, hooks and model refer to each other in circles, so only a collection frees them.
        gc.collect()
        dist.destroy_process_group()
    if ended is not None:
        raise ended


def _adopt(names: dict[str, str]) -> None:
    for ours, theirs in names.items():
        if theirs not in os.environ:
            raise KeyError(f'the launcher did not set {theirs}; start through it or use torchrun')
        os.environ[ours] = os.environ[theirs]
