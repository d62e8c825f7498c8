"""Positions: what a batch holds, whatever was drawn before, however many workers load it."""

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from torch.utils.data import ConcatDataset, DataLoader, Dataset

from mmvl.engine.loops import positioned


class Drawing(Dataset):
    """Three items that draw from all global generators and know their epoch."""

    metainfo: dict = {}

    def __init__(self):
        self.epoch = self.seed = -1

    def set_seed(self, seed):
        self.seed = seed

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 3

    def __getitem__(self, index):
        drawn = random.random(), float(np.random.rand()), float(torch.rand(()))
        return self.seed, self.epoch, index, drawn


def epochs(loader, count):
    """Items of some epochs, with other draws in between."""
    found = []
    for epoch in range(count):
        loader.batch_sampler.epoch = epoch
        found += [item for batch in loader for item in batch]
        random.random(), np.random.rand(), torch.rand(1)
    return found


def plain(dataset, **options):
    loader = DataLoader(dataset, batch_size=2, collate_fn=list, **options)
    return positioned(loader, seed=7, endless=False)


@pytest.mark.parametrize('persistent', [False, True])
def test_items_do_not_depend_on_workers(persistent):
    alone = epochs(plain(Drawing()), 3)
    shared = epochs(plain(Drawing(), num_workers=2, persistent_workers=persistent), 3)
    assert shared == alone
    assert [item[:3] for item in alone] == [(7, e, i) for e in range(3) for i in range(3)]
    assert len({item[3] for item in alone}) == 9


def test_the_seed_decides():
    other = positioned(DataLoader(Drawing(), batch_size=2, collate_fn=list), 8, endless=False)
    assert {i[3] for i in epochs(other, 1)}.isdisjoint(i[3] for i in epochs(plain(Drawing()), 1))


def test_wrapped_datasets_hear_of_the_epoch():
    wrapped = ConcatDataset([Drawing(), Drawing()])
    items = epochs(plain(wrapped), 2)
    assert [item[1:3] for item in items] == [(e, i) for e in (0, 1) for i in (0, 1, 2, 0, 1, 2)]


def test_hooks_reach_the_inner_dataset():
    loader = plain(Drawing())
    loader.dataset.seed = 3
    assert loader.dataset.dataset.seed == loader.dataset.seed == 3
    with pytest.raises(AttributeError, match='colour'):
        loader.dataset.colour  # noqa: B018


@pytest.mark.parametrize('infinite', [False, True])
def test_endless_batches_count_their_passages_and_can_be_entered_anywhere(infinite):
    def make():
        data = Drawing()
        sampler = InfiniteSampler(data, shuffle=True, seed=1) if infinite else None
        loader = DataLoader(data, batch_size=2, sampler=sampler, collate_fn=list)
        return positioned(loader, seed=7, endless=True)

    def first(loader, count):
        stream = iter(loader)
        return [next(stream) for _ in range(count)]

    whole = first(make(), 9)
    later = make()
    later.batch_sampler.skip = 4
    assert first(later, 5) == whole[4:]
    passages = [{item[1] for item in batch} for batch in whole]
    # six items are a passage and a half: a batch of an endless sampler counts with its first item
    expected = [0, 0, 1, 2, 2, 3, 4, 4, 5] if infinite else [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert passages == [{number} for number in expected]


def test_an_iteration_loop_augments_each_passage_anew(make_runner):
    seen = []

    class Look(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.extend(
                (int(i), float(x.sum()))
                for i, x in zip(data_batch['index'], data_batch['inputs'], strict=True)
            )

    runner = make_runner(
        **{
            'train_cfg': {'by_epoch': False, 'max_iters': 8, 'val_interval': 20, '_delete_': True},
            'train_dataloader.sampler.type': 'InfiniteSampler',
        }
    )
    runner.register_hook(Look())
    runner.train()
    assert sorted(i for i, _ in seen) == sorted([*range(12)] * 2)
    assert len(set(seen)) == 24
