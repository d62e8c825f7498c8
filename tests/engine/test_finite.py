"""A loss that is not finite stops training before it reaches the weights."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from torch import nn

from mmvl.engine import load_checkpoint_file
from mmvl.engine.finite import NonFiniteLossError
from mmvl.registry import DATA_SAMPLERS, DATASETS, MODELS


@MODELS.register_module(force=True)
class Overflowing(BaseModel):
    """Two layers; the square of the second one overflows on large input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1), nn.Linear(1, 1)
        self.power = nn.Sequential(Square())

    def forward(self, inputs, data_samples, mode='loss'):
        x = self.power(self.second(self.first(torch.stack(list(inputs)))))
        return {'loss_large': x.mean(), 'loss_small': self.first.weight.sum()}


class Square(nn.Module):
    def forward(self, x):
        return x**2 * torch.tensor(1e30) ** (x.abs() > 1e6).float()


@DATASETS.register_module(force=True)
class Growing(torch.utils.data.Dataset):
    """Twelve samples, of which two can be bad."""

    metainfo = {}

    def __init__(self, value: float) -> None:
        self.value = value

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index):
        value = self.value if index in (6, 7) else 1.0
        sample = BaseDataElement(metainfo={'file_name': f'photo_{index}.jpg'})
        return {'inputs': torch.tensor([value]), 'data_samples': sample}


@DATA_SAMPLERS.register_module(force=True)
class Twice(torch.utils.data.Sampler):
    """Both bad samples in two batches in a row."""

    def __init__(self, dataset, seed) -> None:
        pass

    def __iter__(self):
        return iter([0, 1, 2, 3, 4, 6, 5, 7, 8, 9])

    def __len__(self) -> int:
        return 10


def train(make_runner, value: float, **changes):
    options = {
        **dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator')),
        'model': {'type': 'Overflowing', '_delete_': True},
        'train_dataloader.dataset': {'type': 'Growing', 'value': value, '_delete_': True},
        'train_dataloader.sampler.shuffle': False,
        'train_dataloader.batch_size': 3,
        **changes,
    }
    runner = make_runner('run', **options)
    runner.train()
    return runner


@pytest.mark.parametrize(
    ('value', 'where'),
    [(1e9, "the output of 'power.0'"), (float('nan'), 'the input of the model')],
)
def test_the_error_names_place_and_images(make_runner, value, where):
    with pytest.raises(NonFiniteLossError) as info:
        train(make_runner, value)
    text = str(info.value)
    assert text.startswith('loss_large not finite in iteration 3 on rank 0')
    assert 'photo_6.jpg, photo_7.jpg, photo_8.jpg' in text
    assert f'First in {where}.' in text
    assert len(text.splitlines()) == 3


def test_weights_and_checkpoint_stay_as_they_were(make_runner, tmp_path):
    weights = []

    class Keep(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            weights.append([p.clone() for p in runner.model.parameters()])

    hooks = [dict(type=Keep)]
    saving = {'default_hooks.checkpoint': dict(type='CheckpointHook', interval=2, by_epoch=False)}
    with pytest.raises(NonFiniteLossError, match=r'newest checkpoint: \S+iter_2\.pth'):
        train(make_runner, 1e9, custom_hooks=hooks, **saving)
    saved = load_checkpoint_file(tmp_path / 'run' / 'iter_2.pth')['state_dict']
    assert len(weights) == 3
    for kept, value in zip(weights[-1], saved.values(), strict=True):
        assert torch.equal(kept, value)


def test_a_finite_training_is_left_alone(make_runner):
    assert train(make_runner, 2.0, **{'train_cfg.max_epochs': 1}).iter == 4


def test_bad_iterations_are_left_out_up_to_a_number(make_runner, tmp_path, capsys):
    """The batch with samples 6 and 7 is left out: the weights stay as they were before it."""
    weights = []

    class Keep(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            weights.append(runner.model.first.weight.item())

    hooks = [dict(type=Keep), dict(type='FiniteLossHook', skip=1)]
    runner = train(make_runner, float('nan'), custom_hooks=hooks, **{'train_cfg.max_epochs': 1})
    assert runner.iter == 4
    assert weights[2] == weights[1] and weights[3] != weights[2]
    said = capsys.readouterr()
    assert 'photo_6.jpg, photo_7.jpg, photo_8.jpg' in said.out + said.err
    assert 'This iteration is left out.' in said.out + said.err


def test_two_bad_iterations_in_a_row_end_a_training_that_leaves_out_one(make_runner):
    hooks = [dict(type='FiniteLossHook', skip=1)]
    with pytest.raises(NonFiniteLossError, match='in iteration 4'):
        train(
            make_runner,
            float('nan'),
            custom_hooks=hooks,
            **{
                'train_dataloader.batch_size': 2,
                'train_dataloader.sampler': {'type': 'Twice', '_delete_': True},
            },
        )
