"""Reading checkpoints without running code, writing them without leaving half a file.

PyTorch files are read with ``weights_only=True`` and the allow-list below; a file that needs more
is refused and the refusal names what it asked for. There is no second, trusting attempt.
"""

import argparse
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import numpy as np
import numpy._core.multiarray as core
import torch
from mmengine.logging import HistoryBuffer, print_log
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .download import local_file
from .file_checks import MAX_RATIO, CheckpointError, recognise, refuse

# The file of a work folder that holds the path of its newest checkpoint.
POINTER = 'last_checkpoint'
Trust = Literal['weights', 'pickle']

# Where a checkpoint keeps its weights: MMEngine, the DETR family, and average-weight files.
STATE_KEYS = ('state_dict', 'model', 'model_state_dict')
# Tensors that a refusal names.
NAMED = 5
# Training state, where an infinite value can be meant (the best score so far, a loss scale).
TRAINING_KEYS = ('optimizer', 'lr_scheduler', 'param_schedulers', 'message_hub', 'meta', 'args')


def load_checkpoint_file(
    path: str | os.PathLike, trust: Trust = 'weights', allow_nonfinite: bool = False
) -> dict[str, Any]:
    """Read a ``.pth`` or ``.safetensors`` file into host memory.

    Args:
        path: the file. A leading ``~`` is expanded. An address is downloaded once, see
            :func:`~mmvl.engine.download.fetch_weights`.
        trust: 'weights' reads tensors, containers, numbers, strings, numpy arrays, MMEngine's
            history buffers and ``argparse.Namespace``, and nothing else. 'pickle' runs whatever
            code the file holds: only for a file whose author you trust as you trust a program.
        allow_nonfinite: take weights with NaN or infinite values too.

    Returns:
        The dictionary in the file, each Namespace turned into a plain dictionary. A safetensors
        file gives ``{'state_dict': tensors, 'meta': metadata}``.

    Raises:
        CheckpointError: the file is missing, empty, cut short, no checkpoint at all, asks for
            code, claims far more values than it stores, or holds a NaN or an infinity among its
            weights; or an address cannot be fetched.
    """
    file = local_file(path)
    kind = recognise(file)
    content = _read_safetensors(file) if kind == 'safetensors' else _read_pytorch(file, trust)
    try:
        content = _plain(content, {})
        if not isinstance(content, dict):
            raise refuse(
                file, f'holds a {type(content).__name__}, not a dictionary', 'pass a checkpoint'
            )
        _check_values(content, file, allow_nonfinite)
    except RecursionError:
        raise refuse(file, 'is nested deeper than any checkpoint', 'pass a checkpoint') from None
    return content


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Find the weights in a checkpoint.

    Args:
        checkpoint: as :func:`load_checkpoint_file` returns it.

    Returns:
        Name -> tensor of any shape. A leading ``module.`` (a model saved through
        DistributedDataParallel) is taken off when every name has it.

    Raises:
        CheckpointError: there are no tensors in it.
    """
    inner = next((checkpoint[k] for k in STATE_KEYS if isinstance(checkpoint.get(k), dict)), None)
    source = checkpoint if inner is None else inner
    state = {key: value for key, value in source.items() if isinstance(value, Tensor)}
    if not state:
        keys = ', '.join(str(key) for key in list(checkpoint)[:6])
        raise CheckpointError(f'the checkpoint holds no weights; its keys: {keys}')
    if all(key.startswith('module.') for key in state):
        state = {key.removeprefix('module.'): value for key, value in state.items()}
    return state


def save_safetensors(
    state: Mapping[str, Tensor], path: str | os.PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write weights as a safetensors file that appears only when it is complete.

    Args:
        state: name -> tensor of any shape and device.
        path: the file to make; its folder is made too.
        metadata: what to note in the header, text to text.

    Raises:
        OSError: the disk refused; an older file of that name is untouched.
    """
    from safetensors.torch import save_file

    # Tied weights share storage, which the format refuses; a copy costs disk, not correctness.
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    # empty metadata without tensors would make a header that nobody can read
    noted = dict(metadata) if metadata else None
    write_atomically(path, lambda tmp: save_file(tensors, tmp, noted))


def save_converted(
    ours: Mapping[str, Tensor], number: int, method: str, source: str | Path, target: str | Path
) -> None:
    """Write the result of a conversion, noting in it whose it was, and say so.

    Args:
        ours: our names -> tensors.
        number: how many tensors were read.
        method: that the conversion is of.
        source: the file that was read.
        target: the safetensors file to make.

    Raises:
        OSError: the disk refused; an older file of that name is untouched.
    """
    save_safetensors(ours, target, metadata={'method': method, 'source': Path(source).name})
    print_log(f'{number} tensors read, {len(ours)} written: {target}', 'current')


def write_atomically(path: str | os.PathLike, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary sibling, force it to disk, then rename it to ``path``.

    Raises:
        OSError: the write failed; the sibling is gone and an older ``path`` is untouched.
    """
    target = Path(path).expanduser()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'{target.name}.tmp.{os.getpid()}')
    try:
        write(temporary)
        with open(temporary, 'rb+') as stream:
            os.fsync(stream.fileno())
        if target.suffix in ('.pth', '.pt') and not zipfile.is_zipfile(temporary):
            raise OSError(f'{temporary}: written, but not complete when read back')
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def point_to(folder: Path, checkpoint: str | os.PathLike) -> None:
    """Note in a work folder which checkpoint is the newest, where ``--resume`` looks for it.

    Raises:
        OSError: the disk refused; the older note is untouched.
    """
    write_atomically(folder / POINTER, lambda tmp: tmp.write_text(str(checkpoint)))


def _history_method(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``, which a pickled HistoryBuffer calls for its own four methods."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean'):
        return getattr(owner, name)
    raise UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr({owner!r}, {name!r})')


def _allowed() -> list[Any]:
    dtypes = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDSUOMm'}
    return [
        argparse.Namespace,
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        slice,
        *dtypes,
        *((_history_method, f'{m}.getattr') for m in ('builtins', '__builtin__')),
        # numpy 1 and numpy 2 write different module names for the same two functions
        *((core._reconstruct, f'numpy.{m}.multiarray._reconstruct') for m in ('core', '_core')),
        *((core.scalar, f'numpy.{m}.multiarray.scalar') for m in ('core', '_core')),
    ]


def _read_pytorch(file: Path, trust: Trust) -> Any:
    try:
        with torch.serialization.safe_globals(_allowed()):
            return torch.load(file, map_location='cpu', weights_only=trust == 'weights')
    except UnpicklingError as error:
        text = ' '.join(str(error).split())
        for marker in ('Unsupported global: GLOBAL ', 'Unsupported class ', 'GLOBAL '):
            if marker in text:
                name = text.split(marker, 1)[1].split(' was not')[0].split()[0]
                raise refuse(
                    file,
                    f"asks for '{name[:80]}', which is code and not weights",
                    'get it as safetensors; --trust-pickle runs its code, if you trust the author',
                ) from None
        raise refuse(file, f'is refused: {text[:160]}', 'get the file again') from None
    except OSError:
        raise
    # Damaged bytes provoke nearly any error in the reader; each means the same refusal.
    except Exception as error:
        size = file.stat().st_size
        text = ' '.join(str(error).split())[:120] or type(error).__name__
        raise refuse(
            file, f'is truncated or damaged ({size:,} bytes: {text})', 'copy or download it again'
        ) from None


def _read_safetensors(file: Path) -> dict[str, Any]:
    try:
        with safe_open(file, framework='pt', device='cpu') as reader:
            state = {key: reader.get_tensor(key) for key in reader.keys()}  # noqa: SIM118
            return {'state_dict': state, 'meta': dict(reader.metadata() or {})}
    except (SafetensorError, RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise refuse(file, f'is damaged ({error})', 'copy or download it again') from None


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Turn every Namespace into a dictionary, leaving everything else as it is.

    What is shared is turned once: in a hostile file it can be shared without end.
    """
    inner = vars(value) if isinstance(value, argparse.Namespace) else value
    if type(inner) is not dict:
        return value
    if id(value) not in done:
        done[id(value)] = plain = {}
        plain.update({key: _plain(part, done) for key, part in inner.items()})
    return done[id(value)]


def _check_values(content: Mapping[str, Any], file: Path, allow_nonfinite: bool) -> None:
    """Refuse tensors that are no arrays of finite numbers, before anything computes with them."""
    most = MAX_RATIO * file.stat().st_size
    bad = []
    for name, tensor, is_weight in _tensors(content):
        # Sparse indices are not checked by PyTorch and can point anywhere in memory.
        if tensor.layout != torch.strided or tensor.is_meta:
            raise refuse(
                file, f"stores '{name}' without values or sparsely", 'save it as a dense tensor'
            )
        if tensor.numel() * tensor.element_size() > most:
            raise refuse(
                file,
                f"claims {tensor.numel():,} values for '{name}', far more than it stores",
                'get the file from its authors',
            )
        if is_weight and not allow_nonfinite and not _is_finite(tensor):
            bad.append(name)
    if bad:
        names = ', '.join(bad[:NAMED]) + f' and {len(bad) - NAMED} more' * (len(bad) > NAMED)
        raise refuse(
            file,
            f'has NaN or infinite values in {len(bad)} tensors: {names}',
            'the run that saved it had diverged: use an earlier checkpoint, '
            'or --allow-nonfinite to load it all the same',
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point():
        return True
    # isfinite does not know every type of 8 bits
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def _tensors(content: Mapping[str, Any]) -> Iterator[tuple[str, Tensor, bool]]:
    """Name, tensor, and whether it is a weight; each dictionary once, however often it occurs."""
    seen = set()
    waiting: list[tuple[str, Any, bool]] = [('', content, True)]
    while waiting:
        name, value, is_weight = waiting.pop()
        if isinstance(value, Tensor):
            # a name may hold line breaks
            yield ' '.join(name.split())[:120], value, is_weight
        elif isinstance(value, Mapping) and id(value) not in seen:
            seen.add(id(value))
            for key, part in reversed(list(value.items())):
                inner = is_weight and not (name == '' and key in TRAINING_KEYS)
                waiting.append((f'{name}.{key}' if name else f'{key}', part, inner))
