"""Starting a training again after it died, as long as it gets further each time."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from .checkpoint import write_atomically
from .distributed import RANK_OF, RESTARTS, restart_number
from .runner import newest_checkpoint

RECORD = 'restarts.json'
# Codes after which a restart is pointless: a mistake of the user, Ctrl-C, SIGTERM.
FINAL = (0, 2, 130, 143)


class NoProgressError(RuntimeError):
    """A training was started again and died before its next checkpoint, twice."""


def require_progress(folder: Path, launcher: str) -> None:
    """Note where a training that was started again begins; refuse to begin there a second time.

    Args:
        folder: the work folder.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'; of several processes the first one notes.

    Raises:
        NoProgressError: there is no newer checkpoint than at the restart before.
    """
    if os.environ.get(RANK_OF.get(launcher, ''), '0') != '0':
        return
    record, number = folder / RECORD, restart_number()
    if not number:
        record.unlink(missing_ok=True)
        return
    newest = newest_checkpoint(folder, lambda text: None)
    state = {'checkpoint': newest and [newest.name, newest.stat().st_mtime_ns]}
    if record.is_file() and json.loads(record.read_text()) == state:
        raise NoProgressError(
            f'restart {number} would begin where restart {number - 1} did, '
            f'{f"at {newest.name}" if newest else "without a checkpoint"}: no progress.\n'
            'What to do: look at the error above; it comes again at the same place.'
        )
    write_atomically(record, lambda tmp: tmp.write_text(json.dumps(state)))
    print_log(f'restart {number}, from {newest or "the beginning"}', 'current', level=30)


def is_supervised() -> bool:
    """Whether this process is an attempt that torchrun or :func:`supervise` has started."""
    return RESTARTS in os.environ


def supervise(command: Sequence[str], restarts: int) -> int:
    """Run a training in a process of its own; start it again when it is killed or crashes.

    Args:
        command: what follows the name of the Python interpreter.
        restarts: how often at most.

    Returns:
        Exit code of the last attempt; minus the number of the signal that killed it.
    """
    for number in range(restarts + 1):
        environment = {**os.environ, RESTARTS: str(number)}
        process = subprocess.Popen([sys.executable, *command], env=environment)
        # Ctrl-C reaches the training from the terminal, SIGTERM from here: it saves, then ends
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_, child=process: child.send_signal(signal.SIGTERM))
        code = process.wait()
        if code in FINAL:
            break
    return code
