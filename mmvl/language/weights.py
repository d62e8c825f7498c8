"""Reading CLIP weights from a file: tensors only, nothing in the file is ever run.

Three forms are told apart by their content: safetensors, plain torch state dicts, and the
TorchScript archives that OpenAI released. A TorchScript archive is a zip file with the tensors,
a pickle that names them and program code. ``torch.jit.load`` compiles that code and may run part
of it (``__setstate__``); here the code is never opened and the pickle may name nothing but tensors
and inert containers.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, state_dict_of
from mmvl.engine.file_checks import CheckpointError

ARCHIVE_ENTRIES = ('input_resolution', 'context_length', 'vocab_size')
"""Integers that OpenAI's archives carry beside the weights."""

DTYPES = {
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'DoubleStorage': torch.float64,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'BoolStorage': torch.bool,
}


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """Read the tensors of a CLIP weight file onto the CPU.

    Args:
        path: safetensors, a torch file with a state dict (also under the key ``state_dict``, also
            with ``module.`` before every name), or a TorchScript archive.

    Returns:
        The tensors by name, without OpenAI's three integer entries and without attention masks;
        and whether the file is OpenAI's (a TorchScript archive, or one that has those entries).

    Raises:
        FileNotFoundError: there is no such file; nothing is downloaded.
        CheckpointError: the file is damaged, or holds anything but tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such CLIP weight file. Weights are never downloaded: put the file there, '
            "or set 'weights' to where it is."
        )
    scripted = zipfile.is_zipfile(path) and _is_torchscript(path)
    state = _read_torchscript(path) if scripted else state_dict_of(load_checkpoint_file(path))
    openai = scripted or all(name in state for name in ARCHIVE_ENTRIES)
    dropped = (*ARCHIVE_ENTRIES, 'attn_mask')
    return {k: v for k, v in state.items() if k.rpartition('.')[2] not in dropped}, openai


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith('/constants.pkl') for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        (index,) = (n for n in archive.namelist() if n.endswith('/data.pkl') and n.count('/') == 1)
        with archive.open(index) as file:
            try:
                root = _ModuleReader(file, archive, index.removesuffix('.pkl')).load()
            except (pickle.UnpicklingError, KeyError, ValueError, RuntimeError) as error:
                raise CheckpointError(
                    f'{path}: not a TorchScript archive of tensors only ({error})'
                ) from error
    return dict(_named_tensors(root, ''))


def _named_tensors(module: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Node):
            yield from _named_tensors(value, f'{prefix}{name}.')


class _Node:
    """A module of an archive: its attributes and no behaviour."""


class _ModuleReader(pickle.Unpickler):
    """Reads the module tree of a TorchScript archive; every other name is refused.

    The names that a pickle may ask for are answered with classes and functions made for this one
    load, so that a hostile file can reach nothing that exists outside it.
    """

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive = archive
        self._folder = folder
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """An inert stand-in for a TorchScript class, a storage type or the tensor builder."""
        if module.split('.')[0] == '__torch__':
            return type(name, (_Node,), {})
        if module == 'torch' and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return lambda storage, offset, size, stride, *_: _view(storage, offset, size, stride)
        if (module, name) == ('collections', 'OrderedDict'):
            return type(name, (OrderedDict,), {})
        if module == 'torch.jit._pickle':
            return lambda data, *_: data
        raise pickle.UnpicklingError(f'it names {module}.{name}, which is no tensor')

    def persistent_load(self, pid: Any) -> Tensor:
        """The flat tensor behind a storage reference ('storage', type, key, device, length)."""
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f'{self._folder}/{key}'))
            self._storages[key] = torch.frombuffer(data, dtype=dtype)
        return self._storages[key]


def _view(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    if 0 in size:
        return storage.new_zeros(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if offset < 0 or min(stride, default=0) < 0 or last >= len(storage):
        raise pickle.UnpicklingError(f'a tensor of {prod(size)} entries leaves its storage')
    return storage.as_strided(size, stride, offset).clone()
