"""What changes during a training of ALOcc: help from labels, memory, averaged weights."""

import math
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import ExponentialMovingAverage, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mmvl.registry import HOOKS, MODELS

from .model import ALOcc

# name in a checkpoint
STATE = 'temporal_state'


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
    """Puts what a model remembers of earlier frames into checkpoints, and takes it from them.

    A training that is resumed then goes on exactly, in the middle of its sequences. Checkpoints are
    written by the first of several processes, which does not know what the others remember: with
    more than one process, all sequences begin anew.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Add the memory of training."""
        if runner.world_size == 1:
            model = _model(runner)
            mode = model.training
            model.train()
            checkpoint[STATE] = model.temporal_state()
            model.train(mode)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the memory up when a training is resumed."""
        state = checkpoint.get(STATE)
        if not runner._resume or runner.world_size > 1 or not state:
            return
        model = _model(runner)
        mode = model.training
        model.train()
        model.load_temporal_state(state)
        model.train(mode)


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


def _model(runner: Runner) -> Any:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
