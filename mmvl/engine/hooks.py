"""An orderly end when training is interrupted."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import torch
from mmengine.dist import all_reduce, barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmvl.registry import HOOKS

from .checkpoint import point_to
from .distributed import another_rank_has_failed

INTERRUPTED = 'interrupted.pth'
# torchrun repeats a Ctrl-C that the terminal already sent to every process: not a second wish.
SAME_SIGNAL_SECONDS = 1.0


@HOOKS.register_module()
class InterruptHook(Hook):
    """End training in order on Ctrl-C or SIGTERM.

    The first signal lets the running iteration finish, saves ``interrupted.pth`` with the exact
    position and ends the process with code 130 (Ctrl-C) or 143 (SIGTERM). ``--resume`` goes on at
    the next iteration of the same epoch. A second signal ends the process at once. In a
    distributed run one process that was told is enough: all stop after the same iteration.
    """

    # After the schedules and the checkpoint hook have finished with the iteration.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._signal = 0
        self._when = 0.0
        self._process = 0
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Take over the two signals."""
        self._signal = 0
        self._process = os.getpid()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._note)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        """Save and end if a signal came to any process and no gradients are half gathered."""
        number = self._signal
        if runner.world_size > 1:
            told = torch.tensor(number)
            all_reduce(told, 'max')
            number = int(told)
        if number and runner.optim_wrapper.should_update():
            self._save_and_end(runner, number, runner.iter + 1)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Save and end during validation too; on resuming this validation is not repeated.

        Several processes wait for the next training iteration: their validation lengths differ.
        """
        if self._signal and runner.world_size == 1:
            self._save_and_end(runner, self._signal, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data worker, forked with this handler: its parent decides
        if number == signal.SIGTERM and get_world_size() > 1 and another_rank_has_failed():
            os._exit(128 + number)  # no step can be finished without it
        if not self._signal:
            self._signal, self._when = number, time.monotonic()
        elif time.monotonic() - self._when > SAME_SIGNAL_SECONDS:
            os._exit(128 + number)

    def _save_and_end(self, runner: Runner, number: int, done: int) -> NoReturn:
        folder = Path(runner.work_dir)
        position = {'epoch': runner.epoch, 'iter': done}
        runner.save_checkpoint(str(folder), INTERRUPTED, meta=position, by_epoch=False)
        if is_main_process():
            point_to(folder, folder / INTERRUPTED)
        # no process may end, and have the launcher stop the others, while the first one writes
        barrier()
        self.after_train(runner)
        runner.logger.warning(
            f'{signal.Signals(number).name}: stopped after iteration {done} (epoch '
            f'{runner.epoch + 1}); the state is in {folder / INTERRUPTED}.\n'
            'To go on, repeat the command with --resume.'
        )
        raise SystemExit(128 + number)
