"""Epoch loop that can start in the middle of an epoch."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import DataLoader

from mmvl.registry import LOOPS


class _Remaining:
    """Batch sampler that leaves out the first ``skip`` batches of another one."""

    def __init__(self, batches: Iterable[list[int]], skip: int) -> None:
        self.batches = batches
        self.skip = skip

    def __iter__(self) -> Iterator[list[int]]:
        return itertools.islice(iter(self.batches), self.skip, None)


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop, which continues an interrupted epoch at the next iteration.

    The base loop starts the interrupted epoch again, so that its samples are seen twice and every
    schedule that counts iterations ends early. Here the batches that were done are left out
    without being loaded: the order of an epoch depends only on seed and epoch, and so does the
    augmentation of each sample.
    """

    def run_epoch(self) -> None:
        """Run what is left of the current epoch: all of it unless training was interrupted."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        batches = self._batches_after(done) if done > 0 else self.dataloader
        for index, batch in enumerate(batches, start=max(done, 0)):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches_after(self, done: int) -> DataLoader[Any]:
        loader = self.dataloader
        self.runner.logger.info(
            f'continuing epoch {self._epoch + 1} after {done} of its {len(loader)} batches'
        )
        return DataLoader(
            loader.dataset,
            batch_sampler=_Remaining(loader.batch_sampler, done),  # type: ignore[arg-type]
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
        )
