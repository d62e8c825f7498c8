"""What is installed, what was built, what the machine has, and what to do about the rest."""

import importlib
import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

# import name -> name under which it is installed
PACKAGES = {
    'torch': 'torch',
    'torchvision': 'torchvision',
    'mmengine': 'onedl-mmengine',
    'mmcv': 'onedl-mmcv',
    'mmdet': 'onedl-mmdetection',
    'mmseg': 'onedl-mmsegmentation',
    'open_clip': 'open-clip-torch',
    'transformers': 'transformers',
    'safetensors': 'safetensors',
    'scipy': 'scipy',
}
# data/<folder> -> files that its configs read, with what each is for
DATASETS = {
    'hico_20160224_det': {
        'images/train2015': 'photographs for training',
        'images/test2015': 'photographs for testing',
        'annotations/trainval_hico.json': 'training pairs',
        'annotations/test_hico.json': 'test pairs',
    },
}
# The oldest torch whose restricted loading has no known way around it (CVE-2026-24747).
SAFE_TORCH = (2, 10)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        group: 'versions', 'operators', 'devices' or 'data'.
        name: what was looked for.
        value: what was found; 'missing' if nothing was.
        remedy: what to do, empty when nothing has to be done.
    """

    group: str
    name: str
    value: str
    remedy: str = ''


def environment_report(data_root: str | os.PathLike = 'data') -> list[Finding]:
    """Look at the packages, the operators, the devices and the datasets.

    Args:
        data_root: the folder that holds the datasets.

    Returns:
        One finding for each thing looked for, in the order of the report.
    """
    return [*_versions(), *_operators(), *_devices(), *_datasets(Path(data_root))]


def format_report(findings: list[Finding]) -> str:
    """Lay the findings out as a plain table, each remedy on a line of its own."""
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    group = ''
    for finding in findings:
        if finding.group != group:
            group = finding.group
            lines.append(f'{group}')
        lines.append(f'  {finding.name:<{width}}  {finding.value}')
        if finding.remedy:
            lines.append(f'  {"":<{width}}  -> {finding.remedy}')
    return '\n'.join(lines)


def report_as_dicts(findings: list[Finding]) -> list[dict[str, str]]:
    """Give the findings as dictionaries, ready for JSON."""
    return [asdict(finding) for finding in findings]


def _versions() -> list[Finding]:
    from mmvl import __version__

    found = [
        Finding('versions', 'mmvl', __version__),
        Finding('versions', 'python', f'{platform.python_version()} ({sys.executable})'),
    ]
    for name, distribution in PACKAGES.items():
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            remedy = f"'make env' installs it (pip install -c constraints.txt {distribution})"
            found.append(Finding('versions', name, 'missing', remedy))
            continue
        remedy = ''
        if name == 'torch' and tuple(map(int, version.split('.')[:2])) < SAFE_TORCH:
            remedy = 'older than 2.10: do not load checkpoints of strangers with it'
        found.append(Finding('versions', name, version, remedy))
    return found


def _operators() -> list[Finding]:
    try:
        ops = importlib.import_module('mmcv.ops')
        cuda = ops.get_compiling_cuda_version()
    except (ImportError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0][:80]
        remedy = "'make clean env' builds mmcv again for the torch that is installed"
        return [Finding('operators', 'mmcv.ops', f'missing ({reason})', remedy)]
    wants_cuda = cuda == 'not available' and _has_cuda()
    remedy = "built without CUDA: 'make clean env' on this machine builds it" if wants_cuda else ''
    built_for = 'CPU' if cuda == 'not available' else f'CPU and CUDA {cuda}'
    own = importlib.import_module('mmvl.ops').info()['compiled for']
    compiled = own if own.startswith(('CPU', 'CUDA')) else 'nothing: plain PyTorch is used'
    return [
        Finding('operators', 'mmcv.ops', f'built for {built_for}', remedy),
        Finding(
            'operators',
            'mmvl.ops',
            f'built for {compiled}',
            '' if compiled == own else 'mmvl ops build',
        ),
    ]


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def _devices() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    found = [Finding('devices', 'cpu', f'{cores} cores')]
    try:
        import torch
    except ImportError:
        return found
    built = torch.version.cuda or 'none'
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        name = f'{properties.name}, {memory:.0f} GiB, torch built for CUDA {built}'
        found.append(Finding('devices', f'cuda:{index}', name))
    if not torch.cuda.is_available():
        remedy = 'everything runs on the CPU; a GPU needs a driver that supports this CUDA version'
        found.append(Finding('devices', 'cuda', f'none (torch built for CUDA {built})', remedy))
    return found


def _datasets(root: Path) -> list[Finding]:
    found = []
    for name, files in DATASETS.items():
        folder = root / name
        if not folder.is_dir():
            remedy = f"unpack it or link it to '{folder}'; docs: 'Prepare HICO-DET'"
            found.append(Finding('data', str(folder), 'missing', remedy))
            continue
        found.append(Finding('data', str(folder), 'found'))
        for file, purpose in files.items():
            path = folder / file
            value = _describe(path)
            remedy = f"holds the {purpose}; docs: 'Prepare HICO-DET'" if value == 'missing' else ''
            found.append(Finding('data', f'  {file}', value, remedy))
    return found


def _describe(path: Path) -> str:
    if path.is_dir():
        return f'{sum(1 for _ in os.scandir(path)):,} files'
    return f'{path.stat().st_size / 2**20:.1f} MiB' if path.is_file() else 'missing'
