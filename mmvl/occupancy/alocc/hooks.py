"""What changes during a training of ALOcc: help from labels, memory, averaged weights."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import Runner
from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, save_safetensors
from mmvl.engine.weights import unwrapped
from mmvl.registry import HOOKS, MODELS

from .model import ALOcc


@HOOKS.register_module()
class ALOccScheduleHook(Hook):
    """Lowers the shares of the truth, and switches the memory on.

    Iterations count from 0. A share falls from 1 to 0 along half a cosine between its two ends.

    Args:
        denoise: first and last iteration of the LiDAR depth in the lift.
        history_from: the memory is kept from the iteration behind this one on; 0 keeps it always.
        flow_truth: first and last iteration of the labels in the cost volume of the flow head.
    """

    def __init__(
        self,
        denoise: tuple[int, int],
        history_from: int = 0,
        flow_truth: tuple[int, int] | None = None,
    ) -> None:
        self.denoise, self.history_from, self.flow_truth = denoise, history_from, flow_truth

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
    ) -> None:
        """Set what belongs to the iteration that comes."""
        self.apply(_model(runner), runner.iter)

    def apply(self, model: ALOcc, iteration: int) -> None:
        """Set what belongs to an iteration."""
        model.lift.denoise_rate = half_cosine(iteration, *self.denoise)
        if model.history is not None:
            model.history.enabled = self.history_from == 0 or iteration > self.history_from
        flow_head = model.head.flow_head
        if flow_head is not None and self.flow_truth is not None:
            flow_head.cost_volume_truth_rate = half_cosine(iteration, *self.flow_truth)

    def before_val(self, runner: Runner) -> None:
        """Evaluate with memory."""
        self._remember(runner)

    def after_train(self, runner: Runner) -> None:
        """Leave the memory on, however short the training was."""
        self._remember(runner)

    def _remember(self, runner: Runner) -> None:
        history = _model(runner).history
        if history is not None:
            history.enabled = True


@HOOKS.register_module()
class TemporalStateHook(Hook):
    """Keeps what a model remembers of earlier frames beside the newest checkpoint of a training.

    A training that is resumed from it goes on exactly, in the middle of its sequences. Each of P
    processes has a file of its own, ``NAME.memory_R_of_P.safetensors`` beside ``NAME.pth``, for
    memories are large: the checkpoint stays what one tests and shares, and of older ones no memory
    is kept. Without the file, or with another number of processes, sequences begin anew.
    """

    def __init__(self) -> None:
        self.saved: Path | None = None

    def after_save_checkpoint(self, runner: Runner, path: Path) -> None:
        """Write the memory of this process."""
        if path.name.startswith('best_'):
            return  # nobody resumes from it
        self.saved = path
        file = memory_file(path, runner)
        with _training(runner) as model:
            state = model.temporal_state()
        try:
            save_safetensors(state, file)
        except OSError as error:
            runner.logger.error(
                f'{file} could not be saved: {error}.\nTraining goes on; when it is resumed from '
                f'{path.name}, sequences begin anew.\nWhat to do: free space on that disk.'
            )

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Drop older memories, an iteration late: by now the first process has saved, or failed."""
        self._drop(runner)

    def after_train(self, runner: Runner) -> None:
        """Likewise."""
        self._drop(runner)

    def _drop(self, runner: Runner) -> None:
        saved, self.saved = self.saved, None
        if saved is None:
            return
        file = memory_file(saved, runner)
        if not saved.is_file():
            file.unlink(missing_ok=True)
            return
        for other in file.parent.glob(f'*{file.name.removeprefix(saved.stem)}'):
            if other != file:
                other.unlink()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the memory up when a training is resumed.

        Raises:
            CheckpointError: the file with it is broken.
        """
        if not runner._resume:
            return
        file = memory_file(Path(runner._load_from), runner)
        if not file.is_file():
            runner.logger.warning(f'there is no {file}: all sequences begin anew')
            return
        state = load_checkpoint_file(file)['state_dict']
        with _training(runner) as model:
            model.load_temporal_state({key: each.to(get_device()) for key, each in state.items()})


@MODELS.register_module()
class WarmExpMomentumEMA(ExponentialMovingAverage):
    """Averaged weights that begin as if they had been averaged before.

    The share of the new weights is (1 - m) exp(-n / gamma) + m in the n-th average.

    Args:
        args: as for MMEngine's ExponentialMovingAverage.
        gamma: how many averages the large shares of the beginning last.
        start: averages that count as done.
        kwargs: likewise.
    """

    def __init__(self, *args: Any, gamma: int = 2000, start: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        self.steps += start

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move an average towards the new weights."""
        share = (1 - self.momentum) * math.exp(-(1 + float(steps)) / self.gamma) + self.momentum
        averaged_param.lerp_(source_param, share)


def half_cosine(iteration: int, first: int, last: int) -> float:
    """1 up to the first iteration, 0 from the last one on, half a cosine between."""
    done = min(max((iteration - first) / max(last - first, 1), 0.0), 1.0)
    return (math.cos(math.pi * done) + 1) / 2


def memory_file(checkpoint: Path, runner: Runner) -> Path:
    """Where the memory of this process at a checkpoint is kept."""
    name = f'{checkpoint.stem}.memory_{runner.rank}_of_{runner.world_size}.safetensors'
    return checkpoint.with_name(name)


@contextmanager
def _training(runner: Runner) -> Iterator[ALOcc]:
    """The model in training mode, which has a memory of its own; then in the mode before."""
    model = _model(runner)
    mode = model.training
    try:
        yield model.train()
    finally:
        model.train(mode)


def _model(runner: Runner) -> ALOcc:
    return cast(ALOcc, unwrapped(runner.model))
