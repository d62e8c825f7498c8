"""Make the environment: the one place that knows in which order things must be installed.

Only the standard library is used, since nothing else is there yet. Running it again takes a second
when nothing has changed. The operators of mmcv exist as source only; they are compiled once for
each pair of torch and Python, kept in the user's cache folder and reused by every checkout.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAMP = 'mmvl_environment.json'
OLDEST_PYTHON = (3, 10)
# What compiling mmcv needs. It imports torch to decide whether to compile its operators at all,
# so it cannot be built in pip's isolated environment.
BUILD_TOOLS = ('setuptools', 'wheel', 'ninja', 'packaging', 'torch', 'torchvision', 'numpy')
DEFAULT_ARCHITECTURES = '7.5;8.0;8.6;8.9;9.0+PTX'

PROBE = """
import json, sys, torch
cuda = torch.cuda.is_available()
archs = sorted({'%d.%d' % torch.cuda.get_device_capability(i)
                for i in range(torch.cuda.device_count())}) if cuda else []
print(json.dumps(dict(torch=torch.__version__, cuda=torch.version.cuda, gpu=cuda, archs=archs,
                      tag='cp%d%d' % sys.version_info[:2])))
"""


class SetupError(RuntimeError):
    """A step failed; the message says which and what to do."""


@dataclass(frozen=True)
class Target:
    """What a wheel of mmcv is built for; two targets never share a wheel.

    Attributes:
        torch: version with its local part, such as '2.11.0+cu130'.
        tag: Python tag, such as 'cp311'.
        cuda: CUDA version such as '13.0', empty for a build without CUDA.
        architectures: what CUDA code is compiled for, separated by semicolons.
    """

    torch: str
    tag: str
    cuda: str = ''
    architectures: str = ''

    @property
    def key(self) -> str:
        """Name of the cache folder."""
        if not self.cuda:
            return f'torch{self.torch}-{self.tag}-cpu'
        archs = self.architectures.replace(';', '_').replace(' ', '_')
        return f'torch{self.torch}-{self.tag}-cu{self.cuda.replace(".", "")}-{archs}'

    def build_environment(self, base: dict[str, str], python: str) -> dict[str, str]:
        """Give the variables for the compile: with CUDA, or with CUDA hidden from it."""
        env = {**base, 'MMCV_WITH_OPS': '1', 'MAX_JOBS': base.get('MAX_JOBS', str(_cores()))}
        if self.cuda:
            env.update(FORCE_CUDA='1', TORCH_CUDA_ARCH_LIST=self.architectures)
            env.setdefault('CUDA_HOME', find_toolkit())
            # System toolkits are often installed in part; torch's own wheels bring all headers.
            wheels = Path(python).parent.parent.glob('lib/python*/site-packages/nvidia/*/include')
            env['CPATH'] = os.pathsep.join([*map(str, wheels), *filter(None, [env.get('CPATH')])])
            return env
        env.update(FORCE_CUDA='0', CUDA_HOME='', CUDA_VISIBLE_DEVICES='')
        return env


def main(arguments: list[str] | None = None) -> int:
    """Make or refresh the environment; give 0, or 1 after a failed step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--venv', type=Path, default=ROOT / '.venv', help='default: .venv')
    venv = parser.parse_args(arguments).venv.absolute()
    began = time.monotonic()
    try:
        if sys.version_info < OLDEST_PYTHON:
            raise SetupError(
                f'Python {sys.version.split()[0]} is too old: 3.10 or later is needed. '
                "Set another one, as in 'make env PYTHON=python3.11'."
            )
        if is_current(venv):
            return 0
        make_environment(venv)
    except SetupError as error:
        sys.stderr.write(f'\nsetup: {error}\n')
        return 1
    say(f'environment ready in {time.monotonic() - began:.0f} s: {venv}')
    return 0


def make_environment(venv: Path) -> None:
    """Install everything, in the order in which it has to happen.

    Raises:
        SetupError: a step failed.
    """
    python = str(venv / 'bin' / 'python')
    pins = read_pins(ROOT / 'constraints.txt')
    if not Path(python).exists():
        with step(f'making {venv} with Python {sys.version.split()[0]}'):
            run([sys.executable, '-m', 'venv', str(venv)])
    with step('installing torch and the tools to build with (about 2 GB to fetch)'):
        pip(python, *(f'{name}=={pins[name]}' if name in pins else name for name in BUILD_TOOLS))
    target = find_target(python, dict(os.environ))
    install_mmcv(python, target, pins['onedl-mmcv'])
    with step('installing everything else'):
        pip(python, '--no-build-isolation', '-e', f'{ROOT}[dev]')
    (venv / STAMP).write_text(json.dumps(fingerprint()))


def install_mmcv(python: str, target: Target, version: str) -> None:
    """Install mmcv from the cache, compiling it first if it is not there.

    A wheel that does not import (another compiler's library, a damaged file) is built once more.

    Raises:
        SetupError: it does not import even after a fresh build.
    """
    folder = wheel_cache() / target.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.with_name(f'{folder.name}.lock')):
        cached = find_wheel(folder, version)
        if cached is not None:
            say(f'found mmcv already compiled: {cached}')
            install_wheel(python, cached)
            if why_operators_fail(python) is None:
                return
            say('its operators do not import here: compiling them again')
        install_wheel(python, build_mmcv(python, target, version, folder))
        reason = why_operators_fail(python)
    if reason is not None:
        raise SetupError(f"mmcv was built for {target.key} but 'import mmcv.ops' fails: {reason}")


def install_wheel(python: str, wheel: Path) -> None:
    """Install mmcv over whatever mmcv is there, and then what it depends on, which stays if there.

    Its operators can be imported, and so be checked, only when its dependencies are installed.
    """
    pip(python, '--no-deps', '--force-reinstall', str(wheel))
    pip(python, str(wheel))


def build_mmcv(python: str, target: Target, version: str, folder: Path) -> Path:
    """Compile mmcv beside its cache folder and put it there when it is whole.

    Raises:
        SetupError: the compile failed; the cache is as it was.
    """
    temporary = folder.with_name(f'{folder.name}.tmp.{os.getpid()}')
    command = [python, '-m', 'pip', 'wheel', '-qq', '--no-cache-dir', '--no-build-isolation']
    command += ['--no-deps', '--no-binary', 'onedl-mmcv', '-w', str(temporary)]
    with step(f'compiling the operators of mmcv {version} for {target.key} (12 to 16 minutes)'):
        try:
            environment = target.build_environment(dict(os.environ), python)
            run([*command, f'onedl-mmcv=={version}'], environment)
            wheel = find_wheel(temporary, version)
            if wheel is None:
                raise SetupError(f'pip made no wheel of onedl-mmcv {version} in {temporary}')
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder / wheel.name


def find_wheel(folder: Path, version: str) -> Path | None:
    """Find the wheel of one mmcv version in a cache folder."""
    return next(iter(sorted(folder.glob(f'onedl_mmcv-{version}-*.whl'))), None)


def why_operators_fail(python: str) -> str | None:
    """Import the operators; None if that works. ``import mmcv`` alone works without them."""
    command = [python, '-c', 'import mmcv.ops']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def find_target(python: str, environment: dict[str, str]) -> Target:
    """Ask the installed torch what mmcv has to be built for.

    CUDA is built where torch sees a GPU, or where MMVL_FORCE_CUDA=1 says so.
    """
    done = subprocess.run([python, '-c', PROBE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f'torch was installed but does not import:\n{done.stderr[-500:]}')
    found = json.loads(done.stdout.splitlines()[-1])
    if not (found['gpu'] or environment.get('MMVL_FORCE_CUDA') == '1'):
        return Target(found['torch'], found['tag'])
    if not found['cuda']:
        raise SetupError('CUDA operators are wanted, but this torch is built without CUDA.')
    archs = environment.get('TORCH_CUDA_ARCH_LIST') or ';'.join(found['archs'])
    return Target(found['torch'], found['tag'], found['cuda'], archs or DEFAULT_ARCHITECTURES)


def find_toolkit() -> str:
    """Ask nvcc for the folder of its toolkit: the nvcc on the path may be a wrapper elsewhere.

    Raises:
        SetupError: there is no nvcc.
    """
    try:
        command = ['nvcc', '--dryrun', '-x', 'cu', os.devnull]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise SetupError(
            'a GPU is here but no CUDA compiler (nvcc): install the toolkit.'
        ) from None
    tops = [line.split('TOP=', 1)[1] for line in done.stderr.splitlines() if 'TOP=' in line]
    if not tops:
        raise SetupError('nvcc does not say where its toolkit is: set CUDA_HOME.')
    return os.path.normpath(tops[0].strip())


def wheel_cache() -> Path:
    """Folder of compiled wheels, below the user's cache folder."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'mmvl' / 'wheels'


def read_pins(file: Path) -> dict[str, str]:
    """Read ``name==version`` lines."""
    lines = [line.split('#')[0].strip() for line in file.read_text().splitlines()]
    return dict(line.split('==', 1) for line in lines if '==' in line)


def fingerprint() -> dict[str, str]:
    """Hash everything that decides what is installed."""
    files = [ROOT / name for name in ('constraints.txt', 'setup.py', 'tools/setup_env.py')]
    # the operators, which the installation compiles
    files.append(ROOT / 'mmvl' / 'ops' / '_build.py')
    files += sorted(file for file in (ROOT / 'mmvl' / 'ops' / 'csrc').rglob('*') if file.is_file())
    content = b'\0'.join(file.read_bytes() for file in files)
    wishes = ('MMVL_WITH_OPS', 'MMVL_FORCE_CUDA', 'TORCH_CUDA_ARCH_LIST')
    wish = '|'.join(os.environ.get(name, '') for name in wishes)
    # A moved checkout needs its editable install redone.
    return {'hash': hashlib.sha256(content + wish.encode() + str(ROOT).encode()).hexdigest()}


def is_current(venv: Path) -> bool:
    """Whether the environment was finished for exactly these files."""
    stamp = venv / STAMP
    if not (stamp.is_file() and (venv / 'bin' / 'python').exists()):
        return False
    return json.loads(stamp.read_text()) == fingerprint()


def pip(python: str, *arguments: str) -> None:
    """Install under the constraints, which hold in every call or not at all."""
    pins = str(ROOT / 'constraints.txt')
    run(
        [
            python,
            '-m',
            'pip',
            'install',
            '-qq',
            '--disable-pip-version-check',
            '-c',
            pins,
            *arguments,
        ]
    )


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command.

    Raises:
        SetupError: it failed.
    """
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise SetupError(f'this command ended with code {code}: {" ".join(command)}')


def say(text: str) -> None:
    """Show progress."""
    sys.stdout.write(f'[setup] {text}\n')
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is beginning, and how long it took."""
    say(f'{what} ...')
    began = time.monotonic()
    yield
    say(f'... done in {time.monotonic() - began:.0f} s')


@contextmanager
def lock(file: Path) -> Iterator[None]:
    """Let one process at a time in; the system drops the lock when its holder dies."""
    import fcntl

    with open(file, 'w') as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('another checkout is compiling the same wheel: waiting for it')
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


if __name__ == '__main__':
    sys.exit(main())
