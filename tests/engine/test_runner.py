import logging
import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from mmvl.engine import (
    BFloat16OptimWrapper,
    CheckpointError,
    InterruptHook,
    load_checkpoint_file,
)
from mmvl.engine.runner import newest_checkpoint


class Watch(Hook):
    """Record losses; optionally send this process a signal after one iteration."""

    def __init__(self, at: int = -1, number: int = signal.SIGINT, in_validation: bool = False):
        self.at, self.number, self.in_validation = at, number, in_validation
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs['loss'].item())
        if runner.iter == self.at and not self.in_validation:
            os.kill(os.getpid(), self.number)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.at and self.in_validation:
            os.kill(os.getpid(), self.number)


def train(make_runner, folder: str, watch: Watch, **changes):
    runner = make_runner(folder, **changes)
    runner.register_hook(watch)
    model = runner.train()
    return {key: value.clone() for key, value in model.state_dict().items()}


def interrupt_and_resume(make_runner, watch: Watch, **changes):
    """Return the losses of an interrupted and resumed run, and its weights."""
    with pytest.raises(SystemExit) as ended:
        train(make_runner, 'cut', watch, **changes)
    assert ended.value.code == 128 + watch.number
    rest = Watch()
    weights = train(make_runner, 'cut', rest, resume=True, **changes)
    return watch.losses + rest.losses, weights


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('at', [0, 5, 7])
def test_interrupted_run_equals_an_uninterrupted_one(make_runner, at, workers):
    """At the first iteration, in the middle of an epoch, and at its end; 4 iterations an epoch."""
    changes = {'train_dataloader.num_workers': workers}
    whole = Watch()
    weights = train(make_runner, 'whole', whole, **changes)
    losses, resumed = interrupt_and_resume(make_runner, Watch(at), **changes)
    assert len(whole.losses) == 12
    assert losses == whole.losses
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)


def test_iteration_loop_and_sigterm(make_runner):
    loop = {
        'train_cfg': {'by_epoch': False, 'max_iters': 10, 'val_interval': 20, '_delete_': True},
        'train_dataloader.sampler.type': 'InfiniteSampler',
    }
    whole = Watch()
    train(make_runner, 'whole', whole, **loop)
    losses, _ = interrupt_and_resume(make_runner, Watch(3, signal.SIGTERM), **loop)
    assert losses == whole.losses


def test_interrupt_in_validation_keeps_the_epoch(make_runner):
    whole = Watch()
    train(make_runner, 'whole', whole)
    losses, _ = interrupt_and_resume(make_runner, Watch(4, in_validation=True))
    assert losses == whole.losses


def test_interrupt_waits_for_gathered_gradients(make_runner, tmp_path):
    changes = {'optim_wrapper.accumulative_counts': 2}
    whole = Watch()
    weights = train(make_runner, 'whole', whole, **changes)
    losses, resumed = interrupt_and_resume(make_runner, Watch(4), **changes)
    assert load_checkpoint_file(tmp_path / 'cut' / 'interrupted.pth')['meta']['iter'] == 6
    assert losses == whole.losses
    assert all(torch.equal(weights[key], resumed[key]) for key in weights)


def test_handlers_are_given_back(make_runner):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train(make_runner, 'whole', Watch())
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_hooks_are_there_once(make_runner):
    listed = make_runner(custom_hooks=[{'type': 'InterruptHook'}])
    for runner in (listed, make_runner('other')):
        assert [type(hook) for hook in runner.hooks].count(InterruptHook) == 1


def test_different_seeds_differ(make_runner):
    first, second = Watch(), Watch()
    train(make_runner, 'a', first)
    train(make_runner, 'b', second, **{'randomness.seed': 4})
    assert first.losses != second.losses


def test_a_checkpoint_of_training_is_read_without_trust(make_runner, tmp_path):
    train(make_runner, 'run', Watch())
    loaded = load_checkpoint_file(tmp_path / 'run' / 'epoch_3.pth')
    assert loaded['meta']['epoch'] == 3
    assert loaded['message_hub']['log_scalars']['train/loss'].data[0].shape == (12,)
    assert loaded['optimizer']['state'][0]['exp_avg'].shape == (1, 4)


def test_runner_refuses_code_in_a_checkpoint(make_runner, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    torch.save({'state_dict': {}, 'x': Bomb()}, tmp_path / 'bad.pth')
    for resume in (False, True):
        runner = make_runner(f'r{resume}', load_from=str(tmp_path / 'bad.pth'), resume=resume)
        with pytest.raises(CheckpointError, match='mkdir'):
            runner.train()
    assert not (tmp_path / 'ran').exists()


def test_resume_does_not_execute_a_stored_config(make_runner, tmp_path):
    train(make_runner, 'run', Watch(), **{'train_cfg.max_epochs': 1})
    file = tmp_path / 'run' / 'epoch_1.pth'
    content = load_checkpoint_file(file)
    content['meta']['config'] = f'import os\nos.mkdir({str(tmp_path / "ran")!r})\n'
    torch.save(content, file)
    train(make_runner, 'run', Watch(), resume=True)
    assert not (tmp_path / 'ran').exists()


def test_resume_needs_training_state(make_runner, tmp_path):
    runner = make_runner('run')
    file = tmp_path / 'weights.pth'
    torch.save({'state_dict': runner.model.state_dict(), 'meta': {'epoch': 1, 'iter': 4}}, file)
    runner = make_runner('again', load_from=str(file), resume=True)
    with pytest.raises(CheckpointError, match='lacks message_hub, optimizer'):
        runner.train()


def test_auto_resume_passes_over_a_broken_file(make_runner, tmp_path, caplog):
    train(make_runner, 'run', Watch())
    folder = tmp_path / 'run'
    last = folder / 'epoch_3.pth'
    last.write_bytes(last.read_bytes()[:500])
    said = []
    assert newest_checkpoint(folder, said.append) == folder / 'epoch_2.pth'
    assert 'epoch_3.pth is truncated' in said[0]
    watch = Watch()
    train(make_runner, 'run', watch, resume=True)
    assert len(watch.losses) == 4


def test_last_checkpoint_of_a_moved_folder(make_runner, tmp_path):
    train(make_runner, 'run', Watch())
    moved = (tmp_path / 'run').rename(tmp_path / 'moved')
    assert newest_checkpoint(moved, logging.warning) == moved / 'epoch_3.pth'
    assert newest_checkpoint(tmp_path, logging.warning) is None


def test_a_failed_save_leaves_no_half_file(make_runner, tmp_path, monkeypatch):
    train(make_runner, 'run', Watch(), **{'train_cfg.max_epochs': 1})
    file = tmp_path / 'run' / 'epoch_1.pth'
    before = file.read_bytes()

    def fail(checkpoint, filename, **kwargs):
        Path(filename).write_bytes(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mmengine.runner.runner.save_checkpoint', fail)
    runner = make_runner('run')
    with pytest.raises(OSError, match='No space left'):
        runner.train()
    assert file.read_bytes() == before
    assert not list(file.parent.glob('*.tmp*'))


def test_bfloat16_on_the_cpu(make_runner):
    seen = []

    class Look(Hook):
        def before_train(self, runner):
            linear = runner.model.linear
            linear.register_forward_hook(lambda m, i, o: seen.append((o.dtype, m.weight.dtype)))

    changes = dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator'))
    runner = make_runner(**changes, **{'optim_wrapper.type': 'BFloat16OptimWrapper'})
    runner.register_hook(Look())
    runner.train()
    assert isinstance(runner.optim_wrapper, BFloat16OptimWrapper)
    assert set(seen) == {(torch.bfloat16, torch.float32)}


def test_auto_resume_passes_over_flipped_bytes(make_runner, tmp_path):
    train(make_runner, 'run', Watch())
    folder = tmp_path / 'run'
    last = folder / 'epoch_3.pth'
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 0xFF
    last.write_bytes(content)
    said = []
    assert newest_checkpoint(folder, said.append) == folder / 'epoch_2.pth'
    assert 'epoch_3.pth is damaged' in said[0]


def test_every_process_hears_of_a_saved_checkpoint(make_runner, monkeypatch):
    class Hears(Hook):
        heard = []

        def after_save_checkpoint(self, runner, path):
            self.heard.append((path.name, path.is_file()))

    runner = make_runner('heard', **{'train_cfg.max_epochs': 1})
    runner.register_hook(Hears())
    runner.train()
    assert Hears.heard == [('epoch_1.pth', True)]
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda group=None: False)
    runner.save_checkpoint(runner.work_dir, 'other.pth')
    assert Hears.heard[1:] == [('other.pth', False)]
