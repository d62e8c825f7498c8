"""Compiling, finding and choosing operators; the compiler itself is a stand-in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from mmvl.cli.main import main
from mmvl.ops import (
    OpsBackendError,
    OpsBuildError,
    _backend,
    _build,
    backend,
    bev_pool,
    bev_pool_prepare,
    soft_splat,
    voxel_ray_cast,
)
from mmvl.ops._library import COMPILED_FOR

ROOT = Path(__file__).resolve().parents[2]


def all_results(device: torch.device | str = 'cpu') -> list[Tensor]:
    """Outputs and gradients of every operator on input that is the same on every device."""
    draw = torch.Generator().manual_seed(3)
    grid, points = (6, 5, 4), 300
    features = torch.randn(8, 4, generator=draw)
    weights = torch.rand(points, generator=draw)
    place = torch.rand(points, 3, generator=draw) * 7 - 1
    leaves = [each.to(device).requires_grad_() for each in (weights, features, place)]
    weights, features, place = leaves
    row, batch = (torch.randint(0, high, (points,), generator=draw).to(device) for high in (8, 2))
    found = bev_pool_prepare(place.detach().floor().long(), batch, grid, 2)
    pooled = bev_pool(weights, features, found.kept, row[found.kept], *found[1:], 240)
    volume = soft_splat(weights, place, features, row, batch, grid, 2)
    loss = pooled.square().sum() + volume.square().sum()
    rays = [(torch.rand(50, 3, generator=draw) * 6).to(device) for _ in range(2)]
    full = (torch.rand(2, 4, 5, 6, generator=draw) < 0.2).to(device)
    cast = voxel_ray_cast(full, *rays, batch[:50])
    return [pooled.detach(), volume.detach(), *torch.autograd.grad(loss, leaves), *cast]


def make_copy(folder: Path) -> Path:
    """A copy of the package that nothing was compiled for."""
    copy = folder / 'copy'
    if not copy.exists():
        shutil.copytree(ROOT / 'mmvl/ops', copy / 'mmvl/ops', ignore=shutil.ignore_patterns('*.so'))
        shutil.copy(ROOT / 'mmvl/__init__.py', copy / 'mmvl/__init__.py')
    return copy


def run_copy(folder: Path, program: str) -> subprocess.CompletedProcess:
    """Run a program with the copy."""
    copy = make_copy(folder)
    environment = {**os.environ, 'XDG_CACHE_HOME': str(folder / 'cache')}
    environment['PYTHONPATH'] = os.pathsep.join((str(copy), str(ROOT / 'tests/ops')))
    environment.pop('MMVL_OPS_BACKEND', None)
    command = [sys.executable, '-c', program]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_package_that_was_not_built_gives_the_same(tmp_path: Path) -> None:
    file = tmp_path / 'results.pt'
    program = (
        # the command line is no part of the copy
        'import sys, types\n'
        'for name in ("mmvl.cli", "mmvl.cli.main"):\n'
        '    sys.modules[name] = types.SimpleNamespace(main=None)\n'
        'import torch, test_build, mmvl.ops._library as library\n'
        'assert not library.COMPILED_FOR and library.LOADED is None\n'
        f'assert library.__file__.startswith({str(tmp_path)!r})\n'
        f'torch.save(test_build.all_results(), {str(file)!r})'
    )
    done = run_copy(tmp_path, program)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(all_results(), torch.load(file, weights_only=True), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_library_that_does_not_load_is_named_and_passed_by(tmp_path: Path) -> None:
    library = make_copy(tmp_path) / 'mmvl/ops' / f'{_build.library_name()}.so'
    library.write_bytes(b'no library')
    done = run_copy(tmp_path, 'import mmvl.ops as ops\nprint(ops.info()["compiled for"])')
    assert done.returncode == 0 and 'plain PyTorch' in done.stdout
    assert f'{library} does not load' in done.stderr


def test_backends_agree() -> None:
    results = []
    for name in ('reference', 'auto', *(['compiled'] if 'cpu' in COMPILED_FOR else [])):
        with backend(name):
            results.append(all_results())
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_backend_is_restored_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyError), backend('reference'):
        assert _backend.use_reference('cpu')
        raise KeyError
    assert not _backend.use_reference('cpu')
    with pytest.raises(OpsBackendError, match="backend is 'triton'"), backend('triton'):
        pass
    monkeypatch.setattr(_backend, 'COMPILED_FOR', frozenset())
    with backend('compiled'), pytest.raises(OpsBackendError, match='mmvl ops build'):
        voxel_ray_cast(torch.ones(1, 1, 1, 1), *[torch.zeros(1, 3)] * 2, torch.tensor([0]))


def test_variable_chooses_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, wanted in ((None, 'auto'), ('', 'auto'), ('reference', 'reference')):
        monkeypatch.delenv('MMVL_OPS_BACKEND', raising=False)
        if value is not None:
            monkeypatch.setenv('MMVL_OPS_BACKEND', value)
        assert _backend.from_environment() == wanted
    monkeypatch.setenv('MMVL_OPS_BACKEND', 'fast')
    with pytest.raises(OpsBackendError, match="MMVL_OPS_BACKEND is 'fast'"):
        _backend.from_environment()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """Stands for the process that compiles: writes a file, or fails."""
    fake = SimpleNamespace(calls=[], fails=False)

    def run(command: list[str], **rest: object) -> SimpleNamespace:
        fake.calls.append(command)
        folder = Path(next(word for word in command[3].split('"') if '.tmp.' in word))
        (folder / f'{_build.library_name()}.so').write_text(f'{len(fake.calls)}')
        log = 'lines\nx.cpp:1: fatal error: omp.h: No such file\nmore'
        return SimpleNamespace(returncode=int(fake.fails), stdout=log, stderr='')

    monkeypatch.setattr(_build.subprocess, 'run', run)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    return fake


def test_builds_once_and_again_when_forced(compiler: SimpleNamespace) -> None:
    library = _build.build(cuda=False)
    assert library.parent == _build.cache_folder(cuda=False) and library.read_text() == '1'
    assert _build.build(cuda=False) == library and len(compiler.calls) == 1
    assert _build.build(cuda=False, force=True).read_text() == '2'
    assert 'check_kernels' not in compiler.calls[0][3] and 'bev_pool.cpp' in compiler.calls[0][3]


def test_a_failed_build_says_why_and_leaves_the_cache(compiler: SimpleNamespace) -> None:
    library = _build.build(cuda=False)
    compiler.fails = True
    with pytest.raises(OpsBuildError, match='omp.h: No such file\nWhat to do: install'):
        _build.build(cuda=False, force=True)
    assert library.read_text() == '1'
    assert sorted(file.name for file in library.parents[1].iterdir()) == [
        library.parent.name,
        f'{library.parent.name}.lock',
    ]


def test_nothing_is_built_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, 'torch_version', lambda: None)
    with pytest.raises(OpsBuildError, match='torch is not installed'):
        _build.build()


def test_cuda_needs_a_torch_and_a_compiler_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_build, 'find_toolkit', lambda: None)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    with pytest.raises(OpsBuildError, match='nvcc'):
        _build._environment(cuda=True)
    assert not _build.can_use_cuda()
    monkeypatch.setattr(torch.version, 'cuda', None)
    with pytest.raises(OpsBuildError, match='without CUDA'):
        _build._environment(cuda=True)


def test_the_key_follows_sources_and_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / 'a.cpp').write_text('1')
    monkeypatch.setattr(_build, 'SOURCES', tmp_path)
    keys = {_build.build_key()}
    (tmp_path / 'a.txt').write_text('no source')
    assert _build.build_key() in keys
    (tmp_path / 'a.cpp').write_text('2')
    keys.add(_build.build_key())
    monkeypatch.setattr(_build, 'torch_version', lambda: '9.9')
    keys.add(_build.build_key())
    assert len(keys) == 3


def test_the_version_of_torch_is_read_without_importing_it() -> None:
    program = (
        'import importlib.util as u, sys\n'
        f'spec = u.spec_from_file_location("b", {_build.__file__!r})\n'
        'b = u.module_from_spec(spec); spec.loader.exec_module(b)\n'
        'print(b.torch_version(), "torch" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stdout.split() == [torch.__version__, 'False'], done.stderr


@pytest.mark.parametrize(
    'variables, wants, strict, cuda',
    [
        ({}, True, False, False),
        ({'MMVL_WITH_OPS': '0'}, False, False, False),
        ({'MMVL_WITH_OPS': 'strict'}, True, True, False),
        ({'MMVL_FORCE_CUDA': '1'}, True, True, True),
        ({'FORCE_CUDA': '1'}, True, True, True),
        ({'MMVL_FORCE_CUDA': '0'}, True, False, False),
    ],
)
def test_switches(
    variables: dict, wants: bool, strict: bool, cuda: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('MMVL_WITH_OPS', 'MMVL_FORCE_CUDA', 'FORCE_CUDA'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (_build.wants_ops(), _build.is_strict(), _build.forces_cuda()) == (wants, strict, cuda)


@pytest.mark.parametrize('wish, code', [('1', 0), ('strict', 1), ('0', 0)])
def test_an_installation_without_a_compiler(wish: str, code: int, tmp_path: Path) -> None:
    for name in ('setup.py', 'mmvl/__init__.py'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / 'mmvl/ops', tmp_path / 'mmvl/ops', ignore=shutil.ignore_patterns('*.so'))
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache'), 'CXX': '/no/compiler'}
    environment.update(MMVL_WITH_OPS=wish, PATH=str(tmp_path), MMVL_FORCE_CUDA='0', FORCE_CUDA='0')
    command = [sys.executable, 'setup.py', 'build_ext', '--build-lib', 'built']
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert ('not compiled' in done.stdout + done.stderr) == (wish != '0')
    assert not list(tmp_path.glob('built/**/*.so'))


def test_command_line(capsys: pytest.CaptureFixture, compiler: SimpleNamespace) -> None:
    assert main(['ops', 'info']) == 0
    said = capsys.readouterr().out
    assert 'voxel_ray_cast' in said and _build.build_key() in said
    assert main(['ops', 'build', '--no-cuda']) == 0
    assert Path(capsys.readouterr().out.strip()).read_text() == '1'
    compiler.fails = True
    assert main(['ops', 'build', '--no-cuda', '--force']) == 2
    assert 'What to do' in capsys.readouterr().err
