"""Stopping at the first loss that is not finite, before it reaches the weights."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmvl.registry import HOOKS

from .weights import unwrapped

SHOWN = 8


class NonFiniteLossError(ValueError):
    """A loss became NaN or infinite."""


class SkippedIteration(Exception):
    """Raised inside an iteration to leave it out; the training loops of mmvl go on after it."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Look at every loss before its gradients are computed, and stop at the first bad one.

    The weights and the checkpoints on disk stay as they were before that iteration. The error names
    rank, iteration, terms and images; the batch is run once more to find the module whose output
    is the first that is not finite.

    Args:
        skip: how many iterations in a row may be left out, with the same message in the log, before
            training stops. Several processes leave out the same ones.
    """

    def __init__(self, skip: int = 0) -> None:
        self.skip = skip
        self._skipped = 0

    def before_train(self, runner: Runner) -> None:
        """Watch the outputs of the model."""

        def check(model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
            if kwargs.get('mode') != 'loss':
                return
            fine = _finite(output)
            if not fine:
                bad = [key for key, value in output.items() if not _finite(value)]
                error = _describe(runner, model, args, kwargs, bad)
                if self._skipped == self.skip:
                    raise error
                # an error and not a warning: those of other ranks than 0 are not shown
                runner.logger.error(f'{error}\nThis iteration is left out.')
            if self.skip:
                self._leave_out_unless(fine, runner)

        self._handle = runner.model.register_forward_hook(check, with_kwargs=True)

    def _leave_out_unless(self, fine: bool, runner: Runner) -> None:
        if runner.world_size > 1:
            bad = torch.tensor(float(not fine), device=next(runner.model.parameters()).device)
            all_reduce(bad, 'max')
            fine = not bad
        self._skipped = 0 if fine else self._skipped + 1
        if not fine:
            raise SkippedIteration

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        self._handle.remove()


def _describe(
    runner: Runner, model: nn.Module, args: tuple, kwargs: dict[str, Any], bad: list[str]
) -> NonFiniteLossError:
    samples = kwargs.get('data_samples') or next((a for a in args if isinstance(a, list)), [])
    names = [_name(sample) for sample in samples[:SHOWN]]
    if len(samples) > SHOWN:
        names.append(f'{len(samples) - SHOWN} more')
    where = _first_bad_module(model, args, kwargs)
    newest = runner.message_hub.runtime_info.get('last_ckpt')
    return NonFiniteLossError(
        f'{", ".join(bad)} not finite in iteration {runner.iter + 1} on rank {runner.rank}; '
        f'images: {", ".join(names) or "unknown"}.\n'
        f'First in {where}. The newest checkpoint: {newest or "none yet"}.\n'
        'What to do: look at these images; lower the learning rate or clip gradients more, '
        'with --amp use bfloat16; then --resume.'
    )


def _first_bad_module(model: nn.Module, args: tuple, kwargs: dict[str, Any]) -> str:
    """Run a batch again and name the first module that turns finite values into others."""
    inner = unwrapped(model)
    if not _finite((args, kwargs)):
        return 'the input of the model'
    weights = [name for name, value in inner.state_dict().items() if not _finite(value)]
    if weights:
        return f"the weight '{weights[0]}'"
    found: list[str] = []

    def note(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        if not found and not _finite(output):
            found.append(name)

    handles = [
        module.register_forward_hook(partial(note, name))
        for name, module in inner.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            inner.forward(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return f"the output of '{found[0]}'" if found else 'the losses themselves'


def _finite(value: Any) -> bool:
    checks = [torch.isfinite(tensor).all() for tensor in _tensors(value)]
    # one wait for the device, not one for each tensor
    return not checks or bool(torch.stack(checks).all())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _tensors(inner)


def _name(sample: Any) -> str:
    for key in ('file_name', 'img_path', 'img_id'):
        found = sample.get(key) if hasattr(sample, 'get') else None
        if found is not None:
            return str(found)
    return 'unnamed'
