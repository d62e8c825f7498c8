"""Training loops whose randomness depends on the position alone, so that they can stop anywhere.

An order, an augmentation or a dropout mask is a pure function of the seed and of where the training
is. Whatever else drew random numbers in between (a validation, a restart, another number of data
workers) cannot change it: a run that was killed and resumed ends with the same bits.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmvl.registry import LOOPS

from .finite import SkippedIteration

Position = tuple[int, int]


class SeededDataset(Dataset):
    """A dataset whose items are a pure function of (seed, epoch, index).

    Before an item is made, Python's, numpy's and torch's global generators are seeded from the
    three, for transforms that draw from those; a dataset with generators of its own, or one inside
    wrappers that keep theirs in ``dataset`` or ``datasets``, gets ``set_epoch(epoch)`` if it has
    the method, and ``set_seed(seed)`` once. The epoch travels with the index: a worker that
    prefetches into the next epoch cannot mix them up. Attributes are those of the inner dataset,
    for hooks that read or change them.

    Args:
        dataset: what gives the items.
        seed: of the run.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        vars(self)['dataset'] = dataset
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        """Set the seed of the run, here and in the datasets inside, before the first item."""
        vars(self)['_seed'] = seed
        for each in inner_datasets(self.dataset):
            if hasattr(each, 'set_seed'):
                each.set_seed(seed)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, position: Position) -> Any:
        epoch, index = position
        seed_generators(self._seed, epoch, index)
        for each in inner_datasets(self.dataset):
            if hasattr(each, 'set_epoch'):
                each.set_epoch(epoch)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet while being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)


class PositionedBatches:
    """Batches of (epoch, index) in place of the indices that a batch sampler yields.

    Attributes:
        sampler: of the batch sampler, for MMEngine's hook that sets its epoch.
        epoch: the epoch that the next iteration starts in.
        skip: how many batches the next iteration leaves out, without loading them.
        endless: go on after the last batch, with the next epoch. An endless sampler passes through
            the dataset again and again; each passage counts as an epoch.
    """

    def __init__(self, batches: Any, size: int, endless: bool) -> None:
        self.batches = batches
        self.sampler = getattr(batches, 'sampler', None)
        self.size = size
        self.endless = endless
        self.epoch = self.skip = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Position]]:
        epoch, drawn, left = self.epoch, 0, self.skip
        while True:
            if hasattr(self.sampler, 'set_epoch'):
                self.sampler.set_epoch(epoch)  # type: ignore[union-attr]
            start = drawn
            for batch in self.batches:
                passage = epoch or drawn // self.size if self.endless else epoch
                drawn += len(batch) * get_world_size()
                if left:
                    left -= 1
                else:
                    yield [(passage, index) for index in batch]
            if not self.endless or drawn == start:
                return
            epoch += 1


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop, which continues an interrupted epoch at the next iteration.

    The base loop starts the interrupted epoch again, so that its samples are seen twice and every
    schedule that counts iterations ends early. Here the batches that were done are left out.
    """

    dataloader: DataLoader

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader = positioned(self.dataloader, self.runner.seed, endless=False)

    def run_epoch(self) -> None:
        """Run what is left of the current epoch: all of it unless training was interrupted."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        batches = self.dataloader.batch_sampler
        done = 0
        if isinstance(batches, PositionedBatches):
            done = max(self._iter - self._epoch * len(self.dataloader), 0)
            batches.epoch, batches.skip = self._epoch, done
        if done:
            self.runner.logger.info(
                f'continuing epoch {self._epoch + 1} after {done} of its '
                f'{len(self.dataloader)} batches'
            )
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Run one iteration with generators that depend on seed, rank and iteration only."""
        seed_generators(self.runner.seed, get_rank(), self._iter)
        try:
            super().run_iter(idx, data_batch)
        except SkippedIteration:
            self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch)
            self._iter += 1


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """MMEngine's iteration loop, which continues without loading what it has seen.

    An augmentation differs in each passage through the dataset, with an endless sampler too.
    """

    dataloader: DataLoader

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader = positioned(self.dataloader, self.runner.seed, endless=True)
        if isinstance(self.dataloader.batch_sampler, PositionedBatches):
            self.dataloader_iterator = _Stream(self.dataloader)

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        """Run one iteration with generators that depend on seed, rank and iteration only."""
        seed_generators(self.runner.seed, get_rank(), self._iter)
        try:
            super().run_iter(data_batch)
        except SkippedIteration:
            self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=data_batch)
            self._iter += 1


class _Stream:
    """What the iteration loop asks of its batches: the next one, and where to begin."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._batches: Iterator[Any] | None = None

    def skip_iter(self, count: int) -> None:
        self._loader.batch_sampler.skip = count  # type: ignore[union-attr]

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = iter(self._loader)
        return next(self._batches)


def positioned(loader: DataLoader, seed: int, endless: bool) -> DataLoader:
    """Rebuild a data loader over a :class:`SeededDataset` and :class:`PositionedBatches`.

    Args:
        loader: a loader; one without a batch sampler or over a stream is given back as it is.
        seed: of the run.
        endless: whether the batches never end.
    """
    if loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset):
        return loader
    size = len(loader.dataset)  # type: ignore[arg-type]
    return with_batches(
        loader,
        PositionedBatches(loader.batch_sampler, size, endless),
        SeededDataset(loader.dataset, seed),
    )


def with_batches(loader: DataLoader, batches: Iterable, dataset: Any) -> DataLoader:
    """Build a loader that equals another one but for its batches and its dataset."""
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def reseed(loader: DataLoader, old: int, new: int) -> None:
    """Give a loader the seed of the run that it continues, before its first batch."""
    if isinstance(loader.dataset, SeededDataset):
        loader.dataset.set_seed(new)
    sampler = getattr(loader.batch_sampler, 'sampler', None)
    if getattr(sampler, 'seed', None) == old:
        sampler.seed = new  # type: ignore[union-attr]


def seed_generators(*key: int) -> None:
    """Seed Python's, numpy's and torch's global generators from a tuple of integers."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    # torch.manual_seed asks every kind of device in turn: a tenth of a millisecond for each sample
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def inner_datasets(dataset: Any) -> list[Any]:
    """List a dataset and everything that it wraps, outermost first."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    nested = [found for each in inner if each is not None for found in inner_datasets(each)]
    return [dataset, *nested]
