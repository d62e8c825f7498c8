"""Faults F08 and F10 to F18: saving, and going on from what was saved."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from reliability import kill_and_resume, kill_while_saving

from mmvl.engine import CheckpointError, load_checkpoint_file
from mmvl.engine.training_state import FORMAT, KEY

DATA = Path(__file__).parent / 'data'
SAVING = {'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': 1}}


class Record(Hook):
    """Learning rates, and the samples of each batch."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.rates, self.samples = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        self.samples.append(sorted(int(i) for i in data_batch['index']))


def train(make_runner, folder, exact=False, **changes):
    runner = make_runner(folder, **SAVING, **changes)
    runner.exact = exact
    record = Record()
    runner.register_hook(record)
    runner.train()
    return runner, record


def weights(runner):
    return torch.cat([value.flatten() for value in runner.model.state_dict().values()])


def test_f08_a_checkpoint_of_an_older_mmvl_goes_on(make_runner):
    """The stored file was written by the mmvl before checkpoints had a format number."""
    file = DATA / 'tiny_format_0.pth'
    runner, record = train(make_runner, 'run', load_from=str(file), resume=True)
    assert (runner.epoch, runner.iter, len(record.rates)) == (3, 12, 4)
    # what it does not say is not compared, so that --exact has nothing to object to
    train(make_runner, 'again', exact=True, load_from=str(file), resume=True)


def test_f08_a_checkpoint_of_a_later_mmvl_is_refused(make_runner, tmp_path):
    content = load_checkpoint_file(DATA / 'tiny_format_0.pth')
    content['meta'][KEY] = {'format': FORMAT + 1, 'version': '99.0'}
    torch.save(content, tmp_path / 'later.pth')
    with pytest.raises(CheckpointError, match=r'later\.pth was written by mmvl 99\.0'):
        train(make_runner, 'run', load_from=str(tmp_path / 'later.pth'), resume=True)


def test_f11_a_kill_while_saving_leaves_a_whole_checkpoint():
    assert kill_while_saving('mmvl', 4) == [True] * 4


def test_f12_a_killed_training_ends_with_the_same_bits():
    """Both loops, 0 and 2 workers, dropout, augmentation and an average of the weights."""
    found = kill_and_resume('mmvl', 4)
    assert found == dict.fromkeys(found, [True])
    assert len(found) == 4


def test_f13_gradients_that_were_half_gathered_are_not_lost():
    """Six iterations an epoch, four a step: each checkpoint falls between two steps."""
    found = kill_and_resume('mmvl', 2, seed=1, **{'optim_wrapper.accumulative_counts': 4})
    assert [same for same in found.values() if same] == [[True], [True]]


COSINE = [
    {'type': 'LinearLR', 'start_factor': 0.1, 'by_epoch': False, 'end': 3},
    {'type': 'CosineAnnealingLR', 'by_epoch': True, 'convert_to_iter_based': True},
]


def test_f14_a_longer_training_has_the_schedule_of_a_longer_training(make_runner, capsys):
    train(make_runner, 'run', **{'train_cfg.max_epochs': 2, 'param_scheduler': COSINE})
    long = {'train_cfg.max_epochs': 5, 'param_scheduler': COSINE}
    _, whole = train(make_runner, 'whole', **long)
    runner, rest = train(make_runner, 'run', resume=True, **long)
    assert (runner.epoch, runner.iter) == (5, 20)
    assert rest.rates == pytest.approx(whole.rates[8:], rel=1e-12)
    assert rest.rates[0] > 0.05
    said = capsys.readouterr()
    assert 'CosineAnnealingLR of lr: T_max 8 -> 20, end 8 -> 20' in said.out + said.err


def test_f14_an_unchanged_schedule_is_left_alone(make_runner, capsys):
    changes = {'train_cfg.max_epochs': 2, 'param_scheduler': COSINE}
    train(make_runner, 'run', **changes)
    train(make_runner, 'run', exact=True, resume=True, **changes)
    said = capsys.readouterr()
    assert 'not the training' not in said.out + said.err


def test_f15_another_batch_size_is_told_and_its_position_translated(make_runner, tmp_path, capsys):
    """Twelve samples in batches of three, stopped after one epoch and two batches."""
    file = tmp_path / 'run' / 'iter_6.pth'
    saving = {'default_hooks.checkpoint.by_epoch': False, 'default_hooks.checkpoint.interval': 2}
    _, whole = train(make_runner, 'run', **saving)
    start = {'load_from': str(file), 'resume': True, **saving}
    runner, rest = train(make_runner, 'two', **start, **{'train_dataloader.batch_size': 2})
    said = capsys.readouterr()
    text = said.out + said.err
    assert 'were 1 x 3 x 1 = 3 images a step, now 1 x 2 x 1 = 2' in text
    assert 'goes on at iteration 10 (batch 4 of epoch 2)' in text
    assert (runner.epoch, runner.iter) == (3, 18)
    # the six samples of the epoch that were seen are left out, the other six are seen once
    assert sorted(sum(rest.samples[:3], [])) == sorted(sum(whole.samples[6:8], []))


def test_f15_exact_refuses_another_batch_size(make_runner, tmp_path):
    train(make_runner, 'run', **{'train_cfg.max_epochs': 1})
    with pytest.raises(CheckpointError, match=r'--exact: .*epoch_1\.pth is of another training'):
        train(make_runner, 'run', exact=True, resume=True, **{'train_dataloader.batch_size': 2})


def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(make_runner):
    changes = {'randomness.seed': None, 'train_cfg.max_epochs': 2}
    first, _ = train(make_runner, 'run', **changes)
    (first_file,) = Path(first.work_dir).glob('epoch_1.pth')
    second, _ = train(make_runner, 'other', load_from=str(first_file), resume=True, **changes)
    assert torch.equal(weights(first), weights(second))
