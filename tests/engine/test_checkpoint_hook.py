"""Saving: what is kept when the disk is full, in which order files go, and what a kill leaves."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmvl.engine import CheckpointHook, load_checkpoint_file

HOOK = {'type': 'CheckpointHook', 'interval': 1, 'max_keep_ckpts': 1}


@pytest.fixture
def disk(monkeypatch):
    """A disk that refuses the saves whose numbers (from one) are in the set that it is given."""
    from mmengine.runner import runner as module

    save, full, count = module.save_checkpoint, set(), [0]

    def write(checkpoint, filename, **kwargs):
        count[0] += 1
        if count[0] in full:
            Path(filename).write_bytes(b'half')
            raise OSError(28, 'No space left on device')
        save(checkpoint, filename, **kwargs)

    monkeypatch.setattr(module, 'save_checkpoint', write)
    return full


def saved(folder: Path) -> list[str]:
    """Files of a work folder, without the copy of the config."""
    return sorted(f.name for f in folder.iterdir() if f.is_file() and f.suffix != '.py')


def test_configs_get_this_hook(make_runner):
    hooks = [type(hook) for hook in make_runner().hooks]
    assert CheckpointHook in hooks
    assert sum(issubclass(hook, CheckpointHook.__base__) for hook in hooks) == 1


def test_only_the_newest_stay(make_runner, tmp_path):
    runner = make_runner('run', **{'default_hooks.checkpoint': {**HOOK, 'max_keep_ckpts': 2}})
    runner.train()
    assert saved(tmp_path / 'run') == ['epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    assert (tmp_path / 'run' / 'last_checkpoint').read_text().endswith('epoch_3.pth')


def test_nothing_is_deleted_before_its_successor_is_there(make_runner, tmp_path, disk, capsys):
    disk.add(2)
    folder, seen = tmp_path / 'run', []
    runner = make_runner('run', **{'default_hooks.checkpoint': HOOK})

    class Look(CheckpointHook.__base__.__base__):
        priority = 'LOWEST'

        def after_train_epoch(self, runner):
            seen.append(saved(folder))

    runner.register_hook(Look())
    runner.train()
    # the second save failed: the first file stays, is pointed to, and no half file lies about
    assert seen == [
        ['epoch_1.pth', 'last_checkpoint'],
        ['epoch_1.pth', 'last_checkpoint'],
        ['epoch_3.pth', 'last_checkpoint'],
    ]
    kept = load_checkpoint_file(folder / 'epoch_3.pth')['message_hub']['runtime_info']
    assert kept['keep_ckpt_ids'] == [3]
    said = capsys.readouterr()
    assert 'could not be saved' in said.out + said.err


def test_a_refused_last_save_is_tried_again_and_then_ends_the_run(make_runner, tmp_path, disk):
    disk.update({3, 4})
    runner = make_runner('run', **{'default_hooks.checkpoint': HOOK})
    with pytest.raises(OSError, match=r'(?s)No space left.*newest checkpoint is .*epoch_2\.pth'):
        runner.train()
    assert saved(tmp_path / 'run') == ['epoch_2.pth', 'last_checkpoint']
    # it goes on from there, to the same weights as a run that never met a full disk
    disk.clear()
    resumed = make_runner('run', resume=True, **{'default_hooks.checkpoint': HOOK}).train()
    whole = make_runner('whole', **{'default_hooks.checkpoint': HOOK}).train()
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key


def test_a_refused_last_save_succeeds_at_the_second_attempt(make_runner, tmp_path, disk):
    disk.add(3)
    make_runner('run', **{'default_hooks.checkpoint': HOOK}).train()
    assert saved(tmp_path / 'run') == ['epoch_3.pth', 'last_checkpoint']
    meta = load_checkpoint_file(tmp_path / 'run' / 'epoch_3.pth')['meta']
    assert (meta['epoch'], meta['iter']) == (3, 12)


KILLED = """
import os, sys, tiny
from pathlib import Path
from mmengine.config import Config
from mmengine.runner import runner as module
from mmvl.engine import Runner

def die(checkpoint, filename, **kwargs):
    count[0] += 1
    save(checkpoint, filename, **kwargs)
    if count[0] == 2:
        os.truncate(filename, int(float(sys.argv[2]) * os.path.getsize(filename)))
        os.kill(os.getpid(), 9)

count, save, module.save_checkpoint = [0], module.save_checkpoint, die
config = Config.fromstring(tiny.CONFIG, file_format='.py')
config.work_dir = sys.argv[1]
config.default_hooks.checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1)
Runner.from_cfg(config).train()
"""


@pytest.mark.parametrize('written', [0, 0.5, 1])
def test_a_kill_in_the_middle_of_a_save(make_runner, tmp_path, written):
    command = [sys.executable, '-c', KILLED, str(tmp_path / 'run'), str(written)]
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(command, env={**os.environ, 'PYTHONPATH': path}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = saved(tmp_path / 'run')
    assert left[0] == 'epoch_1.pth' and '.tmp.' in left[1] and left[2] == 'last_checkpoint'
    make_runner('run', resume=True, **{'default_hooks.checkpoint': HOOK}).train()
    assert saved(tmp_path / 'run') == ['epoch_3.pth', 'last_checkpoint']


@pytest.mark.parametrize('full', [None, 3, 5])
def test_the_best_checkpoint_is_replaced_not_deleted(make_runner, tmp_path, disk, full):
    """Saves are: epoch 1, best of 1, 1 again, epoch 2, best of 2, ...; every epoch is better."""
    disk.update({full} - {None})
    hook = {**HOOK, 'save_best': 'score', 'rule': 'greater'}
    runner = make_runner('run', **{'default_hooks.checkpoint': hook, 'train_cfg.max_epochs': 2})
    scores = iter([0.25, 0.5])
    runner.val_loop.evaluator.evaluate = lambda size: {'score': next(scores)}
    runner.train()
    best = {None: 'epoch_2', 3: 'epoch_2', 5: 'epoch_1'}[full]
    assert f'best_score_{best}.pth' in saved(tmp_path / 'run')
    assert sum(name.startswith('best_') for name in saved(tmp_path / 'run')) == 1
