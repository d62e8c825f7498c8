"""The order of samples for models that carry what they saw from one frame to the next.

Place b of every batch walks through sequences, frame after frame; when one ends, the place goes on
with the first frame of another.

Source: SOLOFusion (Park et al., ICLR 2023), the sampler in its released code and in ALOcc's.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmvl.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SequenceSampler(Sampler):
    """Endless training order: sequences shuffled, frames inside them in order.

    Of P places on all processes, place p takes every P-th sequence from the p-th on, however long
    those of the others are, out of an endless list: all sequences shuffled, then shuffled anew. The
    order is a function of the seed alone: a loader that leaves out the first batches continues
    exactly.

    For batches of ``batch_size`` without ``drop_last`` and with an iteration-based loop.

    Args:
        dataset: with ``sequence_numbers``, see :class:`.NuScenesOccupancyDataset`, itself or
            inside of wrappers that keep its length.
        batch_size: of the loader: B places on each process.
        seed: of the order; by default drawn, the same on all processes.

    Raises:
        ValueError: there are fewer sequences than places.
    """

    def __init__(self, dataset: Any, batch_size: int = 1, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.batch_size = batch_size
        self.size = len(dataset)
        self.seed = sync_random_seed() if seed is None else seed
        self.sequences = sequences_of(dataset)
        self.places = batch_size * self.world_size
        if len(self.sequences) < self.places:
            raise ValueError(
                f'{len(self.sequences)} sequences for {self.places} places: {self.world_size} '
                f'processes of batch_size {batch_size}.\n'
                'What to do: use fewer processes, a smaller batch_size, or more sequence_parts.'
            )

    def __iter__(self) -> Iterator[int]:
        first = self.rank * self.batch_size
        places = [self._place(first + number) for number in range(self.batch_size)]
        while True:
            for place in places:
                yield next(place)

    def _place(self, number: int) -> Iterator[int]:
        for position, sequence in enumerate(self._shuffled()):
            if position % self.places == number:
                yield from self.sequences[sequence].tolist()

    def _shuffled(self) -> Iterator[int]:
        rng = np.random.default_rng(self.seed)
        while True:
            yield from rng.permutation(len(self.sequences)).tolist()

    def __len__(self) -> int:
        """Samples of a process after which all have been seen once on average."""
        return -(-self.size // self.world_size)


@DATA_SAMPLERS.register_module()
class SceneSampler(Sampler):
    """Test order: every process takes whole scenes, frame after frame, each once.

    Scenes go to the process that has the fewest frames so far, so no frame is repeated to fill up
    a process; metrics of this wing take results of different number. For batches of one sample.

    Args:
        dataset: with ``scene_numbers``, see :class:`.NuScenesOccupancyDataset`.
        seed: accepted for MMEngine's sake.
    """

    def __init__(self, dataset: Any, seed: int | None = None) -> None:
        rank, world_size = get_dist_info()
        shares: list[list[int]] = [[] for _ in range(world_size)]
        for scene in sequences_of(dataset, 'scene_numbers'):
            min(shares, key=len).extend(scene.tolist())
        self.indices = shares[rank]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def sequences_of(dataset: Any, numbers: str = 'sequence_numbers') -> list[np.ndarray]:
    """Indices of each sequence of a dataset, in order.

    Raises:
        TypeError: the dataset, or the one inside of it, does not number its sequences.
    """
    inner = dataset
    while not hasattr(inner, numbers) and hasattr(inner, 'dataset'):
        inner = inner.dataset
    found = getattr(inner, numbers, None)
    if found is None or len(found) != len(dataset):
        raise TypeError(
            f'{type(dataset).__name__} does not number the sequences of its samples.\n'
            'What to do: use it without wrappers that change its length, or another sampler.'
        )
    return np.split(np.arange(len(found)), np.flatnonzero(np.diff(found)) + 1)
