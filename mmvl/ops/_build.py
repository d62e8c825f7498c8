"""Compiling the operators and finding what was compiled. ``setup.py`` uses this file too.

A library carries a key of its sources and of torch in its name, so that one of an older checkout or
of another torch is not found, and so never loaded. Only the standard library is imported here: when
``setup.py`` reads this, nothing else may be there.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SOURCES = PACKAGE / 'csrc'
SUFFIXES = ('.cpp', '.cu', '.cuh', '.h')
# compiled by a test alone
NOT_LIBRARY = ('check_kernels.cu',)
# Products are rounded before they are added, so that results are the same bits everywhere.
CPU_FLAGS = ('-O3', '-ffp-contract=off')
# what CUDA code is compiled for where no GPU can be asked
ARCHITECTURES = '7.5;8.0;8.6;8.9;9.0+PTX'
OFF = ('0', 'false', 'off', 'no')

PROGRAM = """
import json, sys
from torch.utils.cpp_extension import load
load(**json.loads(sys.argv[1]), is_python_module=False, verbose=True)
"""


class OpsBuildError(RuntimeError):
    """The operators could not be compiled; the message says why and what to do."""


def torch_version() -> str | None:
    """Full version of the installed torch, such as '2.11.0+cu130', without importing it."""
    if 'torch' in sys.modules:
        return str(sys.modules['torch'].__version__)
    spec = find_spec('torch')
    if spec is None or not spec.submodule_search_locations:
        return None
    text = Path(spec.submodule_search_locations[0], 'version.py').read_text()
    found = re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)
    return found.group(1) if found else None


def build_key() -> str:
    """Twelve letters that change with the sources and with torch."""
    parts = [str(torch_version()), *CPU_FLAGS]
    for file in sorted(file for file in SOURCES.rglob('*') if file.suffix in SUFFIXES):
        parts += [file.relative_to(SOURCES).as_posix(), file.read_text('utf-8')]
    return hashlib.sha256('\0'.join(parts).encode()).hexdigest()[:12]


def library_name() -> str:
    """Name of the library, without its ending."""
    return f'_C_{build_key()}'


def cache_folder(cuda: bool) -> Path:
    """Where a library of this key is kept, below the user's cache folder."""
    base = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    return base / 'mmvl' / 'ops' / f'{build_key()}-{"cuda" if cuda else "cpu"}'


def find_library() -> Path | None:
    """Find a library of this key: one with CUDA in the cache, the package's own, the cache's."""
    folders = (cache_folder(cuda=True), PACKAGE, cache_folder(cuda=False))
    for folder in folders:
        found = sorted(folder.glob(f'{library_name()}*.so'))
        if found:
            return found[0]
    return None


def wants_ops() -> bool:
    """Whether an installation compiles at all: ``MMVL_WITH_OPS`` is not 0."""
    return os.environ.get('MMVL_WITH_OPS', '1').lower() not in OFF


def forces_cuda() -> bool:
    """Whether CUDA is compiled even where there is no GPU: ``MMVL_FORCE_CUDA=1``."""
    values = (os.environ.get(name, '0').lower() for name in ('MMVL_FORCE_CUDA', 'FORCE_CUDA'))
    return any(value not in (*OFF, '') for value in values)


def is_strict() -> bool:
    """Whether a failed compile fails the installation."""
    return forces_cuda() or os.environ.get('MMVL_WITH_OPS', '').lower() == 'strict'


def can_use_cuda() -> bool:
    """Whether there is a GPU, a torch for it and a compiler for it."""
    import torch

    return bool(torch.version.cuda and torch.cuda.is_available() and find_toolkit())


def build(cuda: bool | None = None, force: bool = False) -> Path:
    """Compile the library into the cache, unless it is there.

    Args:
        cuda: with the CUDA operators; None where a GPU and a compiler for it are here.
        force: compile again even if it is there.

    Returns:
        The library.

    Raises:
        OpsBuildError: there is no torch, no compiler, or the compile failed.
    """
    if torch_version() is None:
        raise OpsBuildError('torch is not installed.\nWhat to do: install it, then build again.')
    compiler = os.environ.get('CXX') or 'c++'
    # it may be called through another program, such as 'ccache g++'
    if shutil.which(compiler.split()[0]) is None:
        raise OpsBuildError(_why(f"error: there is no C++ compiler '{compiler}'"))
    if cuda is None:
        cuda = forces_cuda() or can_use_cuda()
    folder = cache_folder(cuda)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_name(f'{folder.name}.lock')):
        library = folder / f'{library_name()}.so'
        if force or not library.is_file():
            _compile(folder, cuda)
        return library


def _compile(folder: Path, cuda: bool) -> None:
    """Compile beside the folder, and put it there when it is whole and can be loaded."""
    import json

    patterns = ('cpu/*.cpp', 'cuda/*.cu') if cuda else ('cpu/*.cpp',)
    files = (file for pattern in patterns for file in sorted(SOURCES.glob(pattern)))
    temporary = folder.with_name(f'{folder.name}.tmp.{os.getpid()}')
    # torch spreads loops over cores only where the compiler knows OpenMP; Apple's does not
    parallel = [] if sys.platform == 'darwin' else ['-fopenmp']
    options = {
        'name': library_name(),
        'sources': [str(file) for file in files if file.name not in NOT_LIBRARY],
        'extra_cflags': [*CPU_FLAGS, *parallel],
        'extra_cuda_cflags': ['-O3', *os.environ.get('MMVL_CUDA_ARGS', '').split()],
        'extra_ldflags': parallel,
        'build_directory': str(temporary),
        'with_cuda': cuda,
    }
    command = [sys.executable, '-c', PROGRAM, json.dumps(options)]
    try:
        temporary.mkdir(parents=True)
        done = subprocess.run(
            command, env=_environment(cuda), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise OpsBuildError(_why(done.stdout + done.stderr))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _why(output: str) -> str:
    """The first complaint of a compiler, or the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    complaints = [line for line in lines if re.search(r'\berror\b', line, re.IGNORECASE)]
    reason = (complaints or lines[-1:] or ['no output'])[0]
    return (
        f'The operators were not compiled: {reason[:300]}\n'
        'What to do: install a C++ compiler (g++) and ninja, and nvcc for CUDA; '
        'without them everything runs in plain PyTorch.'
    )


def _environment(cuda: bool) -> dict[str, str]:
    """Variables of the compile: with CUDA, its toolkit and all of its headers."""
    environment = dict(os.environ)
    # ninja is found beside the Python that runs, also where its environment is not active
    places = [str(Path(sys.executable).parent), environment.get('PATH', '')]
    environment['PATH'] = os.pathsep.join(places)
    if not cuda:
        return environment
    import torch

    if not torch.version.cuda:
        raise OpsBuildError(
            'This torch is built without CUDA.\n'
            'What to do: install a torch with CUDA, or build without --cuda.'
        )
    toolkit = find_toolkit()
    if toolkit is None:
        raise OpsBuildError(
            'There is no CUDA compiler (nvcc).\nWhat to do: install the toolkit, or set CUDA_HOME.'
        )
    environment['CUDA_HOME'] = toolkit
    if not torch.cuda.is_available():
        environment.setdefault('TORCH_CUDA_ARCH_LIST', ARCHITECTURES)
    # toolkits are often installed in part; the wheels that torch brings hold all headers
    packages = Path(torch.__file__).parents[1]
    headers = [str(each) for each in packages.glob('nvidia/*/include')]
    environment['CPATH'] = os.pathsep.join(filter(None, [*headers, environment.get('CPATH')]))
    return environment


def find_toolkit() -> str | None:
    """Folder of the CUDA toolkit; the nvcc on the path may be a wrapper that lies elsewhere."""
    if os.environ.get('CUDA_HOME'):
        return os.environ['CUDA_HOME']
    if shutil.which('nvcc') is None:
        return None
    command = ['nvcc', '--dryrun', '-x', 'cu', os.devnull]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    tops = [line.split('TOP=', 1)[1] for line in said.splitlines() if 'TOP=' in line]
    return os.path.normpath(tops[0].strip()) if tops else None


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Let one process at a time in; the system drops the lock when its holder dies."""
    try:
        import fcntl
    except ImportError:
        # not on Windows: two builds at a time then only do the work twice
        yield
        return
    with open(file, 'w') as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
