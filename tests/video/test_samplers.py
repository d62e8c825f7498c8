"""Samples of a video stay together, on one process and on several."""

import pytest

from mmvl.registry import DATA_SAMPLERS
from mmvl.video.samplers import VideoSampler

VIDEOS = ['a', 'a', 'b', 'b', 'b', 'c', 'd', 'd']


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


def test_videos_are_shuffled_and_stay_whole():
    sampler = DATA_SAMPLERS.build(
        {'type': 'VideoSampler', 'dataset': Samples(VIDEOS), 'shuffle': True, 'seed': 1}
    )
    epochs = [order(sampler, epoch) for epoch in range(8)]
    assert len({tuple(each) for each in epochs}) > 3
    assert order(sampler, 2) == epochs[2]
    for each in epochs:
        assert sorted(each) == list(range(8))
        for run in ([0, 1], [2, 3, 4], [6, 7]):
            start = each.index(run[0])
            assert each[start : start + len(run)] == run


def test_without_shuffling_the_order_is_that_of_the_dataset():
    assert order(VideoSampler(Samples(VIDEOS), shuffle=False)) == list(range(8))


@pytest.mark.parametrize('world', [2, 3, 5])
def test_every_process_has_whole_videos_and_as_many_samples(world, monkeypatch):
    shares = []
    for rank in range(world):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda r=rank: (r, world))
        sampler = VideoSampler(Samples(['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd']), seed=3)
        shares.append(order(sampler))
        assert len(shares[-1]) == len(sampler) == -(-8 // world)
    if world == 2:
        assert sorted(shares[0] + shares[1]) == list(range(8))
    for share in shares:
        # starts with a whole video
        assert share[0] % 2 == 0 and share[1] == share[0] + 1
