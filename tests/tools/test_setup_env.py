import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup_env(monkeypatch, tmp_path) -> ModuleType:
    spec = importlib.util.spec_from_file_location('setup_env', ROOT / 'tools' / 'setup_env.py')
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'setup_env', module)
    spec.loader.exec_module(module)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('MMVL_FORCE_CUDA', raising=False)
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    return module


class FakePip:
    """Stands for every command that set-up runs; 'builds' by writing a file."""

    def __init__(self, fail: bool = False) -> None:
        self.fail = fail
        self.commands = []
        self.environments = []

    def __call__(self, command, environment=None):
        self.commands.append(command)
        self.environments.append(environment)
        if 'wheel' in command[:4]:
            folder = Path(command[command.index('-w') + 1])
            folder.mkdir(parents=True)
            (folder / 'half').write_text('')
            if self.fail:
                raise sys.modules['setup_env'].SetupError('compile failed')
            (folder / 'onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl').write_text('')

    @property
    def builds(self) -> int:
        return sum('wheel' in command[:4] for command in self.commands)


@pytest.fixture
def pip(setup_env, monkeypatch) -> FakePip:
    fake = FakePip()
    monkeypatch.setattr(setup_env, 'run', fake)
    monkeypatch.setattr(setup_env, 'why_operators_fail', lambda python: None)
    return fake


def test_keys_keep_targets_apart(setup_env):
    target = setup_env.Target
    targets = [
        target('2.11.0+cu130', 'cp311'),
        target('2.11.0+cpu', 'cp311'),
        target('2.11.0+cu130', 'cp312'),
        target('2.11.0+cu130', 'cp311', '13.0', '9.0'),
        target('2.11.0+cu130', 'cp311', '13.0', '8.0;9.0'),
    ]
    assert len({each.key for each in targets}) == 5
    assert targets[0].key == 'torch2.11.0+cu130-cp311-cpu'
    assert targets[4].key == 'torch2.11.0+cu130-cp311-cu130-8.0_9.0'


def test_build_variables(setup_env, monkeypatch, tmp_path):
    cpu = setup_env.Target('2.11.0', 'cp311').build_environment({'CUDA_HOME': '/c'}, 'python')
    assert (cpu['MMCV_WITH_OPS'], cpu['FORCE_CUDA'], cpu['CUDA_HOME']) == ('1', '0', '')
    python = tmp_path / 'bin' / 'python'
    headers = tmp_path / 'lib' / 'python3.11' / 'site-packages' / 'nvidia' / 'cu13' / 'include'
    headers.mkdir(parents=True)
    monkeypatch.setattr(setup_env, 'find_toolkit', lambda: '/toolkit')
    target = setup_env.Target('2.11.0+cu130', 'cp311', '13.0', '9.0')
    gpu = target.build_environment({'CPATH': '/mine'}, str(python))
    assert (gpu['FORCE_CUDA'], gpu['TORCH_CUDA_ARCH_LIST']) == ('1', '9.0')
    assert gpu['CUDA_HOME'] == '/toolkit'
    assert gpu['CPATH'] == f'{headers}:/mine'


@pytest.mark.parametrize(
    ('gpu', 'variables', 'key'),
    [
        (False, {}, 'torch2.11.0+cu130-cp311-cpu'),
        (True, {}, 'torch2.11.0+cu130-cp311-cu130-9.0'),
        (True, {'TORCH_CUDA_ARCH_LIST': '8.0'}, 'torch2.11.0+cu130-cp311-cu130-8.0'),
        (False, {'MMVL_FORCE_CUDA': '1'}, 'torch2.11.0+cu130-cp311-cu130-7.5_8.0_8.6_8.9_9.0+PTX'),
    ],
)
def test_target_follows_the_machine(setup_env, monkeypatch, gpu, variables, key):
    found = {'torch': '2.11.0+cu130', 'cuda': '13.0', 'gpu': gpu, 'tag': 'cp311'}
    found['archs'] = ['9.0'] if gpu else []
    answer = subprocess.CompletedProcess([], 0, stdout=f'noise\n{json.dumps(found)}\n', stderr='')
    monkeypatch.setattr(setup_env.subprocess, 'run', lambda *a, **k: answer)
    assert setup_env.find_target('python', variables).key == key


def test_one_build_serves_the_next_checkout(setup_env, pip, capsys):
    target = setup_env.Target('2.11.0+cu130', 'cp311')
    for _ in range(3):
        setup_env.install_mmcv('python', target, '2.3.6')
    assert pip.builds == 1
    assert capsys.readouterr().out.count('found mmcv already compiled') == 2
    build = next(command for command in pip.commands if 'wheel' in command)
    assert {'--no-cache-dir', '--no-build-isolation', '--no-deps'} <= set(build)
    setup_env.install_mmcv('python', setup_env.Target('2.12.0', 'cp311'), '2.3.6')
    assert pip.builds == 2


def test_a_failed_build_leaves_nothing_behind(setup_env, pip):
    target = setup_env.Target('2.11.0+cu130', 'cp311')
    pip.fail = True
    with pytest.raises(setup_env.SetupError, match='compile failed'):
        setup_env.install_mmcv('python', target, '2.3.6')
    assert [f.name for f in setup_env.wheel_cache().iterdir()] == [f'{target.key}.lock']
    pip.fail = False
    setup_env.install_mmcv('python', target, '2.3.6')
    assert pip.builds == 2


@pytest.mark.parametrize('second', [None, 'undefined symbol'])
def test_a_cached_wheel_that_does_not_import_is_built_once_more(
    setup_env, pip, monkeypatch, second
):
    target = setup_env.Target('2.11.0+cu130', 'cp311')
    setup_env.install_mmcv('python', target, '2.3.6')
    pip.commands.clear()
    answers = ['undefined symbol', second]
    monkeypatch.setattr(setup_env, 'why_operators_fail', lambda python: answers.pop(0))
    if second is None:
        setup_env.install_mmcv('python', target, '2.3.6')
    else:
        with pytest.raises(setup_env.SetupError, match="'import mmcv.ops' fails: undefined symbol"):
            setup_env.install_mmcv('python', target, '2.3.6')
    assert pip.builds == 1
    assert not answers


def test_a_rebuild_that_fails_keeps_the_cached_wheel(setup_env, pip, monkeypatch):
    target = setup_env.Target('2.11.0+cu130', 'cp311')
    setup_env.install_mmcv('python', target, '2.3.6')
    monkeypatch.setattr(setup_env, 'why_operators_fail', lambda python: 'broken here')
    pip.fail = True
    with pytest.raises(setup_env.SetupError, match='compile failed'):
        setup_env.install_mmcv('python', target, '2.3.6')
    assert setup_env.find_wheel(setup_env.wheel_cache() / target.key, '2.3.6') is not None


def test_second_run_does_nothing(setup_env, pip, monkeypatch, tmp_path):
    target = setup_env.Target('2.11.0+cu130', 'cp311')
    monkeypatch.setattr(setup_env, 'find_target', lambda python, environment: target)
    venv = tmp_path / 'venv'
    (venv / 'bin').mkdir(parents=True)
    (venv / 'bin' / 'python').write_text('')
    assert setup_env.main(['--venv', str(venv)]) == 0
    installs = [command for command in pip.commands if 'install' in command]
    assert all('-c' in command for command in installs)
    assert [any('torch==2.11.0' in word for word in c) for c in installs] == [
        True,
        False,
        False,
        False,
    ]
    pip.commands.clear()
    assert setup_env.main(['--venv', str(venv)]) == 0
    assert pip.commands == []
    monkeypatch.setenv('MMVL_FORCE_CUDA', '1')
    assert not setup_env.is_current(venv)


def test_lock_lets_one_in(setup_env, tmp_path):
    import fcntl

    file = tmp_path / 'a.lock'
    with setup_env.lock(file), open(file) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_pins_match_the_constraints(setup_env):
    pins = setup_env.read_pins(ROOT / 'constraints.txt')
    assert pins['torch'] == '2.11.0'
    assert {'onedl-mmcv', 'torchvision', 'numpy', 'setuptools'} <= pins.keys()
