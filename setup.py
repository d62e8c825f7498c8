"""Package description; exact versions are in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (ROOT / 'mmvl/__init__.py').read_text()).group(1)
README = ROOT / 'README.md'

TEST = ['pytest', 'pytest-xdist', 'hypothesis', 'coverage']
DOCS = ['mkdocs', 'mkdocs-material']

setup(
    name='mmvl',
    version=VERSION,
    description='Published vision-language methods in one maintained framework on MMEngine',
    long_description=README.read_text() if README.exists() else '',
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmvl', 'mmvl.*']),
    package_data={'mmvl': ['py.typed', '**/*.json', '**/*.txt']},
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
