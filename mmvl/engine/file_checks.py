"""Telling from its first and last bytes what a file that should hold weights really is."""

import json
import zipfile
from pathlib import Path
from typing import Literal

Kind = Literal['zip', 'pickle', 'safetensors']


# Bytes unpacked over bytes packed; PyTorch does not compress, others reach perhaps 10.
MAX_RATIO = 200


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not belong to the model."""


def refuse(file: Path, what: str, remedy: str) -> CheckpointError:
    """Word an error about a checkpoint: which file, what is wrong with it, what to do."""
    return CheckpointError(f'{file} {what}.\nWhat to do: {remedy}.')


def recognise(file: Path) -> Kind:
    """Find out how a checkpoint file is stored.

    Args:
        file: the file; it is opened, not loaded.

    Returns:
        'zip' (PyTorch 1.6 and later), 'pickle' (earlier PyTorch) or 'safetensors'.

    Raises:
        CheckpointError: missing, a folder, empty, cut short, or something that holds no weights
            (a web page, a Git LFS pointer, a TorchScript archive, another archive).
    """
    if not file.exists():
        raise refuse(
            file, 'does not exist', f'check the path; relative paths start at {Path.cwd()}'
        )
    if file.is_dir():
        raise refuse(file, 'is a folder', 'name the .pth or .safetensors file in it')
    size = file.stat().st_size
    with open(file, 'rb') as stream:
        head = stream.read(512)
    text = head.lstrip().lower()
    if not size:
        raise refuse(file, 'is empty (0 bytes)', 'copy or download it again')
    if text.startswith((b'<!doctype', b'<html', b'<?xml', b'<head')):
        raise refuse(
            file, 'is a web page, not weights', 'download the file behind the link, not the page'
        )
    if text.startswith(b'version https://git-lfs'):
        raise refuse(
            file, 'is a Git LFS pointer, not weights', "run 'git lfs pull' in its checkout"
        )
    if head.startswith(b'PK'):
        return _recognise_zip(file, size)
    if head[8:9] == b'{' or file.suffix == '.safetensors':
        _check_safetensors_length(file, head, size)
        return 'safetensors'
    if head.startswith(b'\x80'):
        return 'pickle'
    raise refuse(
        file,
        f'is neither a PyTorch nor a safetensors file (first bytes {head[:8].hex(" ")})',
        'check that it is the checkpoint; archives must be unpacked first',
    )


def verify(file: Path) -> None:
    """Read a checkpoint file from end to end and compare it with its checksums.

    Raises:
        CheckpointError: as :func:`recognise`, or the contents are not those that were written.
    """
    if recognise(file) != 'zip':
        return
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise refuse(file, f'is damaged ({error})', 'copy it again') from None
    if bad:
        raise refuse(file, f"is damaged: '{bad}' has another checksum", 'copy it again')


def _recognise_zip(file: Path, size: int) -> Kind:
    if not zipfile.is_zipfile(file):
        # PyTorch notes no sizes before the directory at the end, so the whole is not known
        raise refuse(
            file,
            f'is truncated: {size:,} of more than {size:,} bytes, without the directory at the end',
            'copy or download it again',
        )
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise refuse(file, f'is damaged ({error})', 'copy or download it again') from None
    if unpacked > MAX_RATIO * size:
        raise refuse(
            file,
            f'unpacks {size:,} to {unpacked:,} bytes, more than {MAX_RATIO}:1',
            'get the file from its authors',
        )
    if any(name.endswith('/constants.pkl') or name == 'constants.pkl' for name in names):
        raise refuse(
            file, 'is a TorchScript archive (a program)', 'use a file that holds a state dictionary'
        )
    if not any(name.endswith('data.pkl') for name in names):
        raise refuse(file, 'is an archive without PyTorch data', 'unpack it and name a file in it')
    return 'zip'


def _check_safetensors_length(file: Path, head: bytes, size: int) -> None:
    length = int.from_bytes(head[:8], 'little')
    if 8 + length > size:
        raise refuse(
            file, f'is truncated: {size:,} of at least {8 + length:,} bytes', 'copy it again'
        )
    try:
        with open(file, 'rb') as stream:
            stream.seek(8)
            header = json.loads(stream.read(length))
        entries = (entry for name, entry in header.items() if name != '__metadata__')
        expected = 8 + length + max((int(entry['data_offsets'][1]) for entry in entries), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise refuse(
            file, 'has no readable safetensors header', 'copy or download it again'
        ) from None
    if size < expected:
        raise refuse(file, f'is truncated: {size:,} of {expected:,} bytes', 'copy it again')
