"""The order of training samples."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler

from mmvl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class GroupedSampler(DefaultSampler):
    """Shuffles groups of samples, such as all sentences about a picture, and keeps each together.

    Sentences about the same picture then meet in one step: what differs in their gradients is what
    they say. Inside of a group the order is that of the dataset.

    Args:
        dataset: whose samples have ``key`` in ``get_data_info``.
        key: samples of which it is equal are a group, such as 'img_id' or 'video_id'; None for
            samples without groups.
        **kwargs: as in :class:`mmengine.dataset.DefaultSampler`.

    Raises:
        KeyError: a sample has no such field.
    """

    def __init__(self, dataset: Any, key: str | None, **kwargs: Any) -> None:
        super().__init__(dataset, **kwargs)
        groups: dict[Any, list[int]] = {}
        for number in range(len(dataset)):
            group = number if key is None else dataset.get_data_info(number)[key]
            groups.setdefault(group, []).append(number)
        self.groups = list(groups.values())

    def __iter__(self) -> Iterator[int]:
        """Give this process its share of an epoch: every n-th group, of n processes."""
        order: np.ndarray = np.arange(len(self.groups))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        # every process has a group, and takes as many steps as the others, however long theirs are
        share = np.resize(order, -(-len(order) // self.world_size) * self.world_size)
        groups = [self.groups[group] for group in share[self.rank :: self.world_size]]
        return iter(np.resize(np.concatenate(groups), self.num_samples).tolist())
