"""What a checkpoint must say, beyond MMEngine's part, so that a training can go on exactly.

Letters: B images a process and iteration, W processes, A iterations whose gradients are added up.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor

from mmvl import __version__

from .file_checks import CheckpointError
from .weights import unwrapped

# Raised when the meaning of a stored key changes; MIGRATIONS then says how to read older files.
FORMAT = 1
KEY = 'mmvl'
# What a schedule remembers of its progress; everything else comes from the config.
PROGRESS = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}


def describe_training(runner: Runner) -> dict[str, Any]:
    """Say what the meaning of a checkpoint's position depends on: processes, batch, data, length.

    Args:
        runner: while it trains.
    """
    loader = runner.train_dataloader
    batches = loader.batch_sampler
    batches = getattr(batches, 'batches', batches)
    return {
        'format': FORMAT,
        'version': __version__,
        'world_size': get_world_size(),
        'batch_size': getattr(batches, 'batch_size', None) or loader.batch_size or 1,
        'accumulative_counts': getattr(runner.optim_wrapper, '_accumulative_counts', 1),
        'dataset_size': _length(loader.dataset),
        'epoch_length': _length(loader),
        'max_epochs': runner.max_epochs,
        'max_iters': runner.max_iters,
    }


def _length(items: Any) -> int | None:
    """How many there are; None for a stream."""
    try:
        return len(items)
    except TypeError:
        return None


def migrate(checkpoint: dict[str, Any], filename: str) -> None:
    """Bring a checkpoint of an earlier mmvl to today's form, in place.

    Format 0, before there was a number, says nothing about processes and batch: they stay unknown.

    Raises:
        CheckpointError: a later mmvl wrote it.
    """
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict):
        return
    known = meta.setdefault(KEY, {'format': 0})
    if known['format'] > FORMAT:
        raise CheckpointError(
            f'{filename} was written by mmvl {known.get("version")}, this is {__version__}.\n'
            'What to do: install that version or a later one.'
        )


def compare_training(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List in words what differs between the training that saved and the one that goes on.

    Args:
        stored: as :func:`describe_training` gave it; format 0 has nothing to compare.
        now: likewise.
    """
    if not stored.get('format'):
        return []
    found = []
    keys = ('world_size', 'batch_size', 'accumulative_counts')
    if any(stored[key] != now[key] for key in keys):
        sizes = [' x '.join(str(each[key]) for key in keys) for each in (stored, now)]
        totals = [_images_a_step(each) for each in (stored, now)]
        found.append(
            f'processes x images x accumulation were {sizes[0]} = {totals[0]} images a step, '
            f'now {sizes[1]} = {totals[1]}'
        )
    if stored['dataset_size'] != now['dataset_size']:
        found.append(f'the dataset had {stored["dataset_size"]} samples, now {now["dataset_size"]}')
    return found


def position_for(
    epoch: int, iteration: int, stored: Mapping[str, Any], now: Mapping[str, Any]
) -> int:
    """Translate an iteration count to another number of images a step.

    Whole epochs stay whole; of a begun one the same number of samples is left out.

    Args:
        epoch: epochs that were finished.
        iteration: iterations that were done.
        stored: the training that counted them.
        now: the training that goes on.

    Returns:
        Iterations that this training would have done.
    """
    samples = (iteration - epoch * stored['epoch_length']) * _images_an_iteration(stored)
    return epoch * now['epoch_length'] + samples // _images_an_iteration(now)


def _images_an_iteration(facts: Mapping[str, Any]) -> int:
    return facts['world_size'] * facts['batch_size']


def _images_a_step(facts: Mapping[str, Any]) -> int:
    return _images_an_iteration(facts) * facts['accumulative_counts']


def changed_schedule(configured: Any, stored: Any) -> list[str]:
    """List in words where schedules of the config differ from those of a checkpoint.

    Args:
        configured: MMEngine's parameter schedulers, built from the config.
        stored: their states in the checkpoint. Several optimizers with schedules of their own
            (a dictionary), and schedules that follow a metric, are not compared.
    """
    if not isinstance(configured, list) or not isinstance(stored, list):
        return []
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in configured):
        return []
    if len(configured) != len(stored):
        return [f'{len(stored)} schedules are now {len(configured)}']
    found = []
    for scheduler, old in zip(configured, stored, strict=True):
        new = scheduler.state_dict()
        changed = [
            f'{key} {old.get(key)} -> {new.get(key)}'
            for key in new
            if key not in PROGRESS and key in old and new[key] != old[key]
        ]
        if changed:
            found.append(
                f'{type(scheduler).__name__} of {scheduler.param_name}: {", ".join(changed)}'
            )
    return found


def replay_schedule(runner: Runner, config: Any) -> None:
    """Set schedules and their parameters to where they would be had they held from the beginning.

    Args:
        runner: with its position set and its optimizer restored.
        config: of the schedules.
    """
    for group in runner.optim_wrapper.param_groups:
        for key in [key for key in group if key.startswith('initial_')]:
            group[key.removeprefix('initial_')] = group[key]
    schedulers = runner.build_param_scheduler(config)
    with warnings.catch_warnings():
        # the optimizer has made these steps in an earlier process
        warnings.filterwarnings('ignore', message='Detected call of `scheduler.step')
        length, done = len(runner.train_dataloader), 0
        for epoch in range(runner.epoch + 1):
            end = runner.iter if epoch == runner.epoch else (epoch + 1) * length
            for _ in range(done, end):
                _step(schedulers, by_epoch=False)
            done = end
            if epoch < runner.epoch:
                _step(schedulers, by_epoch=True)
    runner.param_schedulers = schedulers


def _step(schedulers: list[Any], by_epoch: bool) -> None:
    for scheduler in schedulers:
        if scheduler.by_epoch == by_epoch:
            scheduler.step()


@dataclass
class Continuation:
    """What changes when a training goes on from a checkpoint of another one.

    Attributes:
        stored: the training that saved, as :func:`describe_training` gave it.
        now: the training that goes on.
        schedule: differences of the schedules, in words.
        gradients: as :func:`half_gathered_gradients` gave them.
    """

    stored: dict[str, Any]
    now: dict[str, Any]
    schedule: list[str]
    gradients: list[dict[str, Tensor]] | None

    @property
    def differences(self) -> list[str]:
        """Everything that makes this another training, in words."""
        return compare_training(self.stored, self.now) + self.schedule

    @classmethod
    def of(cls, runner: Runner, checkpoint: dict[str, Any]) -> 'Continuation':
        """Compare a runner with a checkpoint; a changed schedule is taken out of the checkpoint.

        MMEngine would restore the stored schedule, end included, over the one of the config.
        """
        schedule = changed_schedule(runner.param_schedulers, checkpoint.get('param_schedulers'))
        if schedule:
            del checkpoint['param_schedulers']
        stored = checkpoint['meta'][KEY]
        return cls(stored, describe_training(runner), schedule, checkpoint.get('gradients'))

    def apply(self, runner: Runner) -> None:
        """Set position, schedules and gradients of a runner that MMEngine has resumed."""
        loop = runner.train_loop
        other_batch = bool(compare_training(self.stored, self.now))
        if other_batch and isinstance(loop, EpochBasedTrainLoop):
            loop._iter = position_for(loop.epoch, loop.iter, self.stored, self.now)
        if self.schedule or (other_batch and isinstance(runner.param_schedulers, list)):
            replay_schedule(runner, runner.cfg.param_scheduler)
        restore_gradients(runner, None if other_batch else self.gradients)
        if self.differences:
            done = loop.iter - loop.epoch * len(loop.dataloader)
            rates = {f'{rate:.3g}' for rate in runner.optim_wrapper.get_lr()['lr']}
            runner.logger.warning(
                f'this is not the training that saved: {"; ".join(self.differences)}.\n'
                f'It goes on at iteration {loop.iter + 1} (batch {done + 1} of epoch '
                f'{loop.epoch + 1}) with learning rate {", ".join(sorted(rates))}.'
            )


def half_gathered_gradients(runner: Runner) -> list[dict[str, Tensor]] | None:
    """Collect gradients that accumulate towards a step which is not made yet.

    All processes must call this. Returns one dictionary a process, name -> gradient on the host;
    None between steps.
    """
    wrapper = runner.optim_wrapper
    if not hasattr(wrapper, 'should_update') or wrapper.should_update():
        return None
    own = {
        name: value.grad.detach().cpu()
        for name, value in unwrapped(runner.model).named_parameters()
        if value.grad is not None
    }
    return all_gather_object(own)


def restore_gradients(runner: Runner, stored: list[dict[str, Tensor]] | None) -> None:
    """Give the parameters back the gradients that :func:`half_gathered_gradients` collected."""
    if stored is None:
        return
    own = stored[get_rank()]
    for name, value in unwrapped(runner.model).named_parameters():
        if name in own:
            value.grad = own[name].to(value.device)
