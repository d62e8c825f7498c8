"""Randomness of datasets: a pure function of the run's seed, the epoch and the sample."""

from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset


class SeededDataset(BaseDataset):
    """A dataset whose samples bring a generator of their own.

    It is seeded by (``seed``, ``epoch``, index of the sample), so that what is drawn from it
    depends on nothing else. The training loop sets seed and epoch.
    """

    seed = 0
    epoch = 0

    def set_seed(self, seed: int) -> None:
        """Set the seed of the run, first part of the seed of every sample's generator."""
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, second part of the seed of every sample's generator."""
        self.epoch = epoch

    def generator(self, sample: dict[str, Any]) -> np.random.Generator:
        """Make the generator of a sample, which has its ``sample_idx``."""
        return np.random.default_rng((self.seed, self.epoch, sample['sample_idx']))
