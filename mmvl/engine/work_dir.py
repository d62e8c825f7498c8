"""One training at a time in a work folder."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mmengine.logging import print_log

from .distributed import RANK_OF

LOCK = 'training.lock'


class WorkDirInUseError(OSError):
    """Another training runs in the work folder."""


@contextmanager
def only_training_in(folder: Path, launcher: str = 'none') -> Iterator[None]:
    """Keep a work folder to one training: a second one would replace its checkpoints and logs.

    The lock belongs to the process, so that it ends with it, however it ends: a lock file that a
    killed training left behind is recognised and taken over with a warning.

    Args:
        folder: the work folder.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'; of several processes the first one locks.

    Raises:
        WorkDirInUseError: another training holds the folder; the message says who.
    """
    if os.environ.get(RANK_OF.get(launcher, ''), '0') != '0':
        yield
        return
    with open(folder / LOCK, 'a+') as stream:
        stream.seek(0)
        holder = stream.read().strip()
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise WorkDirInUseError(
                    f'another training runs in {folder}: {holder or "it has just started"}.\n'
                    'What to do: give another --work-dir, or end that training first.'
                ) from None
            print_log(f'{folder}: no lock on this file system ({error})', 'current', level=30)
        if holder:
            print_log(
                f'the last training in {folder} was killed ({holder}); --resume goes on from it',
                'current',
                level=30,
            )
        stream.truncate(0)
        now = datetime.now().isoformat(' ', 'seconds')
        stream.write(f'process {os.getpid()} on {socket.gethostname()} since {now}')
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)
