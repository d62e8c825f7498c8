"""Package description; exact versions are in constraints.txt.

The operators of ``mmvl.ops`` are compiled where torch is here already (pip's
``--no-build-isolation``) and where there is a compiler; without them everything runs in plain
PyTorch. Variables: ``MMVL_WITH_OPS`` 0 leaves them out, strict makes a failed compile fail the
installation; ``MMVL_FORCE_CUDA=1`` compiles for CUDA without a GPU (and is strict), for
``TORCH_CUDA_ARCH_LIST``; ``MMVL_CUDA_ARGS`` go to nvcc; ``MAX_JOBS`` limits the processes.
"""

import re
import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

ROOT = Path(__file__).parent.resolve()
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmvl/__init__.py').read_text()).group(1)
README = ROOT / 'README.md'

TEST = ['pytest', 'pytest-xdist', 'hypothesis', 'coverage']
DOCS = ['mkdocs', 'mkdocs-material']


def load_builder() -> ModuleType:
    """Load mmvl/ops/_build.py alone: the package itself needs what is not installed yet."""
    spec = spec_from_file_location('mmvl_ops_build', ROOT / 'mmvl' / 'ops' / '_build.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILDER = load_builder()


class BuildOps(build_ext):
    """Takes the library from the user's cache, where it is compiled once for all checkouts."""

    def build_extension(self, ext: Extension) -> None:
        """Compile, or copy what was compiled; a failure is a warning unless it was to be strict."""
        try:
            library = BUILDER.build()
        except (BUILDER.OpsBuildError, OSError) as error:
            raise CompileError(str(error)) from error
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library, target)


def extensions() -> list[Extension]:
    """The library of operators, or nothing where it is not wanted or torch is not here."""
    if not BUILDER.wants_ops():
        return []
    if BUILDER.torch_version() is None and not BUILDER.is_strict():
        sys.stderr.write('mmvl: torch is not here yet, operators are left in plain PyTorch\n')
        return []
    name = f'mmvl.ops.{BUILDER.library_name()}'
    return [Extension(name, sources=[], optional=not BUILDER.is_strict())]


setup(
    name='mmvl',
    version=VERSION,
    description='Published vision-language methods in one maintained framework on MMEngine',
    long_description=README.read_text() if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmvl', 'mmvl.*']),
    package_data={
        'mmvl': ['py.typed', '**/*.json', '**/*.txt', '**/*.html'],
        'mmvl.ops': ['csrc/**/*.h', 'csrc/**/*.cpp', 'csrc/**/*.cu', 'csrc/**/*.cuh'],
    },
    ext_modules=extensions(),
    cmdclass={'build_ext': BuildOps},
    # mmdetection and mmsegmentation declare neither torch nor mmcv, so both are listed here.
    install_requires=[
        'torch>=2.10',
        'torchvision',
        'numpy>=2',
        'scipy',
        'pillow',
        'opencv-python-headless',
        'pycocotools',
        'av',
        'h5py',
        'safetensors',
        'tqdm',
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv',
        'onedl-mmdetection',
        'onedl-mmsegmentation',
        'open-clip-torch',
        'transformers',
        'tokenizers',
    ],
    extras_require={
        'test': TEST,
        'docs': DOCS,
        'dev': [*TEST, *DOCS, 'ruff', 'mypy', 'import-linter', 'pre-commit'],
    },
    entry_points={'console_scripts': ['mmvl=mmvl.cli.main:main']},
)
