"""F10 and F16 to F18, F35: a full disk, a work folder that is not to be had, signals, no extras."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lost_rank import CONFIG, ROOT
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from reliability import ITERATIONS, fork, in_child, train

from mmvl.cli.main import main
from mmvl.engine import load_checkpoint_file


@HOOKS.register_module(force=True)
class FullDisk(Hook):
    """Between two iterations no file may grow beyond 30 kB; a checkpoint has 400."""

    def __init__(self, start: int, end: int) -> None:
        self.start, self.end = start, end

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        full = self.start <= runner.iter < self.end
        limit = 30_000 if full else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def disk_full_between(folder: Path, start: int, end: int, **changes) -> int:
    hooks = [{'type': 'FullDisk', 'start': start, 'end': end}]
    options = {'model.width': 2000, 'custom_hooks': hooks, **changes}
    return in_child(train, 'mmvl', folder, 'iteration', 0, **options)


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.suffix != '.py' and file.is_file())


def log(folder: Path) -> str:
    return ''.join(file.read_text() for file in folder.rglob('*.log'))


def test_f10_a_full_disk_costs_one_checkpoint(tmp_path: Path) -> None:
    """Saved after 5, 10 and 15 of 18 iterations, of which the second falls on the full disk."""
    code = disk_full_between(tmp_path, 7, 12)
    assert code == 0
    assert 'the checkpoint of step 10 could not be saved' in log(tmp_path)
    assert 'the newest checkpoint is still' in log(tmp_path)
    assert files(tmp_path) == [f'iter_{ITERATIONS}.pth', 'last_checkpoint']


def test_f10_the_old_checkpoint_stays_whole(tmp_path: Path) -> None:
    code = disk_full_between(tmp_path, 7, 99)
    assert code != 0
    assert files(tmp_path) == ['iter_5.pth', 'last_checkpoint']
    assert load_checkpoint_file(tmp_path / 'iter_5.pth')['meta']['iter'] == 5
    assert (tmp_path / 'last_checkpoint').read_text().endswith('iter_5.pth')
    # with space again it goes on from there
    code = in_child(train, 'mmvl', tmp_path, 'iteration', 0, resume=True, **{'model.width': 2000})
    assert code == 0
    assert files(tmp_path) == [f'iter_{ITERATIONS}.pth', 'last_checkpoint']


@pytest.mark.parametrize('place', ['/proc/run', '{tmp}/file/run', '/dev/null'])
def test_f16_a_work_folder_that_cannot_be_written(place, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    place = place.format(tmp=tmp_path)
    config = str(ROOT / 'configs' / 'eoid' / 'toy_detector.py')
    assert main(['train', config, '--work-dir', place]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert f'the work folder {place} cannot be written' in said[0]
    assert len(said) <= 3


SLOW = """
custom_imports['imports'].append('slow')
train_cfg = dict(by_epoch=True, max_epochs=1000)
default_hooks['checkpoint']['interval'] = 1000
custom_hooks = [dict(type='SlowHook', at={at})]
"""
HOOK = """
import time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class SlowHook(Hook):
    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, *args, **kwargs):
        open(f'{runner.work_dir}/iteration', 'w').write(str(runner.iter))
        if runner.iter == self.at:
            time.sleep(120)
"""


@pytest.fixture
def start(tmp_path):
    """Start trainings that last, in the same work folder; they are killed at the end."""
    started = []

    def begin(at: int = -1) -> subprocess.Popen:
        (tmp_path / 'slow.py').write_text(HOOK)
        text = CONFIG.format(timeout=10, kind='', at=0, mark='') + SLOW.format(at=at)
        (tmp_path / 'config.py').write_text(text)
        path = [str(tmp_path), str(ROOT), str(ROOT / 'benchmarks')]
        command = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(tmp_path / 'config.py')]
        process = subprocess.Popen(
            [*command, '--work-dir', str(tmp_path / 'run')],
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(file: Path, number: int) -> None:
    """Wait until a file, which is written again and again, says at least this number."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        said = file.read_text() if file.exists() else ''
        if said and int(said) >= number:
            return
        time.sleep(0.01)
    pytest.fail(f'{file} does not reach {number}')


def test_f17_a_second_training_in_the_folder_is_refused(start, tmp_path):
    first = start()
    wait_for(tmp_path / 'run' / 'iteration', 3)
    second = start()
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f'another training runs in {tmp_path / "run"}: process {first.pid}' in output
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    third = start()
    (tmp_path / 'run' / 'iteration').unlink()
    wait_for(tmp_path / 'run' / 'iteration', 3)
    third.send_signal(signal.SIGTERM)
    output, _ = third.communicate(timeout=60)
    assert f'was killed (process {first.pid}' in output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_f18_a_signal_lets_the_step_finish_and_saves(start, tmp_path, number):
    process = start()
    wait_for(tmp_path / 'run' / 'iteration', 5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert 'To go on, repeat the command with --resume.' in output
    state = load_checkpoint_file(tmp_path / 'run' / 'interrupted.pth')
    assert state['meta']['iter'] == int((tmp_path / 'run' / 'iteration').read_text()) + 1


def test_f18_a_second_signal_ends_at_once(start, tmp_path):
    process = start(at=4)
    wait_for(tmp_path / 'run' / 'iteration', 4)
    process.send_signal(signal.SIGINT)
    # within a second the same signal counts as one: launchers repeat what the terminal sent
    time.sleep(1.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    assert not (tmp_path / 'run' / 'interrupted.pth').exists()


WITHOUT = """
import socket, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == 'mmcv._ext':
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)

def refuse(*args, **kwargs):
    raise OSError('no network')

sys.meta_path.insert(0, Absent())
socket.socket.connect = refuse
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
import mmvl.hoi
from mmvl.hoi.structures import HOIDataSample
from mmvl.registry import MODELS

model = dict(Config.fromfile(sys.argv[1]).model)
model.update(backbone=dict(type='FrozenResNet', depth=50), in_channels=2048)
model = MODELS.build(model).eval()
sample = HOIDataSample(metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96)))
image = torch.zeros(3, 64, 96, dtype=torch.uint8)
(found,) = model.test_step(dict(inputs=[image], data_samples=[sample]))
print(len(found.pred_pairs.scores), torch.isfinite(found.pred_pairs.scores).all().item())
from mmvl.cli.main import main
main(['env'])
"""


def test_f35_without_compiled_operators_gpu_and_network(tmp_path):
    config = str(ROOT / 'configs' / 'eoid' / 'toy_detector.py')
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT, config],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    count, finite = done.stdout.split()[:2]
    assert int(count) > 0 and finite == 'True'
    assert [line for line in done.stdout.splitlines() if 'mmcv.ops' in line and 'missing' in line]


def test_a_killed_child_is_reported():
    """What the other tests rely on tells a kill from an end."""
    assert in_child(os.kill, os.getpid(), 0) == 0
    child = fork(time.sleep, 60)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
