"""The order of training samples of videos."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler

from mmvl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class VideoSampler(DefaultSampler):
    """Shuffles videos, and keeps the samples of each together, in the order of the dataset.

    With as many samples a batch as a video has, or a multiple of them, sentences about the same
    video are compared in one step: what differs in their gradients is what they say.

    Args:
        dataset: whose samples, as :class:`.ReferringVideoDataset` gives them, name their
            ``video_id``.
        **kwargs: as in :class:`mmengine.dataset.DefaultSampler`.

    Raises:
        KeyError: a sample has no ``video_id``.
    """

    def __init__(self, dataset: Any, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        videos = [dataset.get_data_info(number)['video_id'] for number in range(len(dataset))]
        runs = [len(list(run)) for _, run in groupby(videos)]
        self.videos = np.split(np.arange(len(videos)), np.cumsum(runs)[:-1])

    def __iter__(self) -> Iterator[int]:
        """Give this process its share of an epoch: every n-th video, of n processes."""
        order = np.arange(len(self.videos))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        # every process has a video, and takes as many steps as the others, however long theirs are
        share = np.resize(order, -(-len(order) // self.world_size) * self.world_size)
        videos = [self.videos[video] for video in share[self.rank :: self.world_size]]
        return iter(np.resize(np.concatenate(videos), self.num_samples).tolist())
