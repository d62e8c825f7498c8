"""Samples of a group stay together, on one process and on several."""

import pytest

from mmvl.engine.samplers import GroupedSampler
from mmvl.registry import DATA_SAMPLERS

VIDEOS = ['a', 'a', 'b', 'c', 'b', 'b', 'd', 'd']


class Samples:
    """A dataset that knows of which video its samples are."""

    def __init__(self, videos):
        self.videos = videos

    def __len__(self):
        return len(self.videos)

    def get_data_info(self, index):
        return {'video_id': self.videos[index]}


def order(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


def test_groups_are_shuffled_and_stay_whole():
    sampler = DATA_SAMPLERS.build(
        {'type': 'GroupedSampler', 'dataset': Samples(VIDEOS), 'key': 'video_id', 'seed': 1}
    )
    epochs = [order(sampler, epoch) for epoch in range(8)]
    assert len({tuple(each) for each in epochs}) > 3
    assert order(sampler, 2) == epochs[2]
    for each in epochs:
        assert sorted(each) == list(range(8))
        for run in ([0, 1], [2, 4, 5], [6, 7]):
            start = each.index(run[0])
            assert each[start : start + len(run)] == run


def test_without_shuffling_groups_come_in_the_order_of_the_dataset():
    sampler = GroupedSampler(Samples(VIDEOS), 'video_id', shuffle=False)
    assert order(sampler) == [0, 1, 2, 4, 5, 3, 6, 7]


def test_without_a_key_samples_are_shuffled_one_by_one():
    sampler = GroupedSampler(Samples(VIDEOS), None, seed=1)
    epochs = [order(sampler, epoch) for epoch in range(8)]
    assert all(sorted(each) == list(range(8)) for each in epochs)
    assert any(abs(each.index(0) - each.index(1)) > 1 for each in epochs)


@pytest.mark.parametrize('world', [2, 3, 5])
def test_every_process_has_whole_groups_and_as_many_samples(world, monkeypatch):
    shares = []
    for rank in range(world):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, world))
        sampler = GroupedSampler(Samples([*'aabbccdd']), 'video_id', seed=3)
        shares.append(order(sampler))
        assert len(shares[-1]) == len(sampler) == -(-8 // world)
    if world == 2:
        assert sorted(shares[0] + shares[1]) == list(range(8))
    for share in shares:
        # starts with a whole video
        assert share[0] % 2 == 0 and share[1] == share[0] + 1
