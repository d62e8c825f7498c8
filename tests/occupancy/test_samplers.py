"""Every place of a batch walks through sequences, frame after frame, and can be continued."""

import itertools

import numpy as np
import pytest
from mmengine.registry import DATA_SAMPLERS as PARENT
from torch.utils.data import BatchSampler

from mmvl.engine.loops import PositionedBatches
from mmvl.occupancy.samplers import SceneSampler, SequenceSampler
from mmvl.registry import DATA_SAMPLERS

LENGTHS = (4, 3, 5, 4, 2, 6, 3)


class Sequences:
    """A dataset of sequences of different lengths."""

    def __init__(self, lengths=LENGTHS):
        self.sequence_numbers = self.scene_numbers = np.repeat(range(len(lengths)), lengths)

    def __len__(self):
        return len(self.sequence_numbers)


@pytest.fixture
def processes(monkeypatch):
    """Make a sampler as it would be in each of several processes."""

    def make(kind, world_size, *args, **kwargs):
        found = []
        for rank in range(world_size):
            monkeypatch.setattr(
                'mmvl.occupancy.samplers.get_dist_info', lambda r=rank: (r, world_size)
            )
            found.append(kind(*args, **kwargs))
        return found

    return make


def walk(sampler, batches):
    """Indices (batches, places)."""
    count = batches * sampler.batch_size
    return np.array(list(itertools.islice(sampler, count))).reshape(batches, -1)


def sequences_in(column, numbers):
    """The sequences that a place walks through, of which all but the last must be whole."""
    parts = np.split(column, np.flatnonzero(np.diff(column) != 1) + 1)
    for part in parts[:-1]:
        whole = np.flatnonzero(numbers == numbers[part[0]])
        # two sequences that stand together may follow each other
        assert set(whole) <= set(part)
    return [int(n) for part in parts for n in dict.fromkeys(numbers[part].tolist())]


def test_places_walk_through_whole_sequences():
    data = Sequences()
    found = walk(SequenceSampler(data, batch_size=2, seed=0), 60)
    seen = [sequences_in(found[:, place], data.sequence_numbers) for place in range(2)]
    # both places take turns in one list, in which each round has every sequence once
    order = [each for pair in zip(*seen, strict=False) for each in pair]
    assert sorted(order[:7]) == sorted(order[7:14]) == list(range(7))
    assert order[:7] != order[7:14]


def test_processes_share_one_list(processes):
    data = Sequences()
    sampler = SequenceSampler(data, batch_size=4, seed=3)
    alone = walk(sampler, 25)
    two = processes(SequenceSampler, 2, data, batch_size=2, seed=3)
    together = np.concatenate([walk(each, 25) for each in two], axis=1)
    np.testing.assert_array_equal(together, alone)
    assert len(two[0]) == 14 and len(sampler) == 27


def test_order_is_a_function_of_the_seed():
    data = Sequences()
    first, again = (walk(SequenceSampler(data, 2, seed=5), 40) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (walk(SequenceSampler(data, 2, seed=6), 40) != first).any()


def test_a_run_that_was_stopped_goes_on_with_the_next_frames():
    data = Sequences()

    def batches(skip):
        sampler = SequenceSampler(data, 2, seed=1)
        found = PositionedBatches(BatchSampler(sampler, 2, drop_last=False), len(data), True)
        found.skip = skip
        return found

    whole = list(itertools.islice(batches(0), 50))
    rest = list(itertools.islice(batches(23), 27))
    assert rest == whole[23:]
    assert {epoch for batch in whole for epoch, _ in batch} == {0, 1, 2, 3}


def test_too_few_sequences(processes):
    with pytest.raises(ValueError, match='7 sequences for 8 places: 2 processes of batch_size 4'):
        processes(SequenceSampler, 2, Sequences(), batch_size=4, seed=0)


def test_test_order(processes):
    data = Sequences()
    assert list(SceneSampler(data)) == list(range(27)) and len(SceneSampler(data)) == 27
    shares = [list(each) for each in processes(SceneSampler, 3, data)]
    assert sorted(sum(shares, [])) == list(range(27))
    for share in shares:
        sequences_in(np.array(share), data.scene_numbers)
    assert max(map(len, shares)) - min(map(len, shares)) <= 6
    # more processes than scenes: some have nothing to do
    assert sum(len(each) for each in processes(SceneSampler, 9, data)) == 27


def test_wrapped_and_foreign_datasets():
    class Wrapper:
        def __init__(self, length):
            self.dataset, self.length = Sequences(), length

        def __len__(self):
            return self.length

    assert list(SceneSampler(Wrapper(27))) == list(range(27))
    with pytest.raises(TypeError, match='does not number the sequences'):
        SceneSampler(Wrapper(26))
    with pytest.raises(TypeError, match='list does not number'):
        SequenceSampler([1, 2, 3], seed=0)


def test_loaders_find_them():
    assert DATA_SAMPLERS.get('SequenceSampler') is SequenceSampler
    built = PARENT.build({'type': 'mmvl.SceneSampler'}, default_args={'dataset': Sequences()})
    assert len(built) == 27
    # the evaluation leaves an order alone that says nothing of shuffling
    assert not hasattr(built, 'shuffle')
