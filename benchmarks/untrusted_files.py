"""Malicious files: is each refused, how soon, and with how much memory?

    python benchmarks/untrusted_files.py [--only refs]

Makes every sample in a temporary folder and opens it in a process of its own, forked after the
imports, so that the memory is what the file takes and not the interpreter. A sample counts as
refused when the error is of the type that its reader promises, has three lines at most, and
nothing of the file ran or was written elsewhere.
"""

import argparse
import gzip
import io
import json
import multiprocessing
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mmvl.engine import CheckpointError, load_checkpoint_file
from mmvl.engine.archives import ArchiveError, unpack
from mmvl.engine.pickles import PickleError, read_pickle
from mmvl.hoi.transforms import LoadHOIImage

MB = 1 << 20


class Code:
    """Pickles as a call that makes a folder named ``ran`` in the current one."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ('ran',)


def shared_without_end() -> list:
    """Ten to the power of fifty strings."""
    value: list = ['left man']
    for _ in range(50):
        value = [value] * 10
    return value


WITH_CODE = [{'sentences': [{'sent': 'left man', 'tokens': ['left', 'man']}]}, Code()]
TUPLES = b')' + b'2\x86' * 60

REFS: dict[str, bytes] = {
    'code, protocol 0': pickle.dumps(WITH_CODE, 0),
    'code, protocol 2': pickle.dumps(WITH_CODE, 2),
    'code, protocol 4': pickle.dumps(WITH_CODE, 4),
    'code, old instruction': b"(S'ran'\nios\nmkdir\n.",
    'references shared without end': pickle.dumps(shared_without_end()),
    'memo index 2**32-1': b'\x80\x02Nr\xff\xff\xff\xff0',
    'length of a terabyte': b'\x80\x04\x8e' + struct.pack('<Q', 1 << 40) + b'.',
    'frame of a terabyte': b'\x80\x04\x95' + struct.pack('<Q', 1 << 40),
    'bytearray of a terabyte': b'\x80\x05\x96' + struct.pack('<Q', 1 << 40) + b'.',
    'a million lists': b'\x80\x04(' + b']' * 1_000_000 + b'l.',
    'two million sets': b'\x80\x04(' + b'\x8f' * 2_000_000 + b'l.',
    'two million memo entries': b'\x80\x04' + b']\x94' * 2_000_000 + b'.',
    'five million levels': b'\x80\x02N' + b'\x85' * 5_000_000 + b'.',
    'key that takes for ever to hash': b'\x80\x04}' + TUPLES + b'Ns.',
    'keys of one hash': b'\x80\x02}('
    + b''.join(b'\x8a\x0a' + (i * (2**61 - 1)).to_bytes(10, 'little') + b'N' for i in range(200000))
    + b'u.',
    'fifty copies of a string': b'\x80\x02X'
    + struct.pack('<I', 4 * MB)
    + bytes(4 * MB)
    + b'q\x010('
    + b'c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R' * 50
    + b'l.',
    'array of 10**10 numbers': b'cnumpy.core.multiarray\n_reconstruct\n'
    b"(cnumpy\nndarray\n(I9999999999\ntS'b'\ntR.",
    'integer of a million digits': b'I' + b'9' * 1_000_000 + b'\n.',
}
"""Name -> contents of a ``refs(unc).p``."""


def write_png(path: Path, width: int, height: int) -> None:
    """A black picture of one bit a pixel, which takes a thousandth of its pixels' bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        tail = struct.pack('>I', zlib.crc32(kind + data))
        return struct.pack('>I', len(data)) + kind + data + tail

    rows = bytes((1 + (width + 7) // 8) * height)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0))
        + chunk(b'IDAT', zlib.compress(rows, 9))
        + chunk(b'IEND', b'')
    )


def write_tar(
    path: Path, name: str, data: bytes = b'', kind: bytes = tarfile.REGTYPE, link: str = ''
) -> None:
    """A tar.gz of a harmless member and another one."""
    with tarfile.open(path, 'w:gz') as archive:
        for each in ('images/a.jpg', name):
            info = tarfile.TarInfo(each)
            if each == name:
                info.size, info.type, info.linkname = len(data), kind, link
            archive.addfile(info, io.BytesIO(data))


def write_tar_header(path: Path, kind: bytes, size: int, content: int) -> None:
    """A tar.gz of one header that announces ``size`` bytes, and ``content`` zeros."""
    info = tarfile.TarInfo('x')
    info.type, info.size = kind, size
    with gzip.open(path, 'wb') as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(content))


def write_zip(path: Path, name: str, data: bytes = b'', mode: int = 0) -> None:
    """A zip of a harmless member and another one."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('images/a.jpg', b'')
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)


def write_lying_zip(path: Path, size: int) -> None:
    """A zip whose second member has 5,000 bytes and announces ``size``."""
    write_zip(path, 'x', os.urandom(5000))
    data = bytearray(path.read_bytes())
    struct.pack_into('<I', data, data.rindex(b'PK\x03\x04') + 22, size)
    struct.pack_into('<I', data, data.rindex(b'PK\x01\x02') + 24, size)
    path.write_bytes(data)


ARCHIVES: dict[str, Callable[[Path], None]] = {
    'tar, ../x': lambda path: write_tar(path, '../../x', b'x'),
    'tar, absolute path': lambda path: write_tar(path, str(path.parent / 'x'), b'x'),
    'tar, symbolic link': lambda path: write_tar(path, 'x', b'', tarfile.SYMTYPE, '../..'),
    'tar, hard link': lambda path: write_tar(path, 'x', b'', tarfile.LNKTYPE, '/etc/passwd'),
    'tar, device': lambda path: write_tar(path, 'x', b'', tarfile.CHRTYPE),
    'tar, 1000:1': lambda path: write_tar(path, 'x', bytes(100 * MB)),
    'tar, size of a petabyte': lambda path: write_tar_header(path, tarfile.REGTYPE, 10**15, 1024),
    'tar, header of 40 MB': lambda path: write_tar_header(path, tarfile.XHDTYPE, 40 * MB, 40 * MB),
    'tar, name of 40 MB': lambda path: write_tar_header(
        path, tarfile.GNUTYPE_LONGNAME, 40 * MB, 40 * MB
    ),
    'zip, ../x': lambda path: write_zip(path, '../../x', b'x'),
    'zip, ..\\x': lambda path: write_zip(path, '..\\x', b'x'),
    'zip, absolute path': lambda path: write_zip(path, str(path.parent / 'x'), b'x'),
    'zip, symbolic link': lambda path: write_zip(path, 'x', b'/etc/passwd', 0o120777),
    'zip, 1000:1': lambda path: write_zip(path, 'x', bytes(100 * MB)),
    'zip, announces too little': lambda path: write_lying_zip(path, 10),
    'zip, announces too much': lambda path: write_lying_zip(path, 6000),
}


def _save(content: Any, legacy: bool = False) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=not legacy)


def _write(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def _lie(legacy: bool) -> Callable[[Path], None]:
    """A tensor of 1000 numbers whose storage claims two billion."""

    def write(path: Path) -> None:
        _save({'w': torch.rand(1000)}, legacy)(path)
        claim = b'J\xff\xff\xff\x7f'
        if legacy:
            path.write_bytes(path.read_bytes().replace(b'M\xe8\x03', claim))
            return
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, data in parts.items():
                archive.writestr(name, data.replace(b'M\xe8\x03', claim))

    return write


def _compressed(path: Path) -> None:
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/data.pkl', b'\x80\x02}.')
        archive.writestr('a/data/0', bytes(100 * MB))


def _shared_dictionaries() -> dict:
    value: dict = {'w': torch.ones(1)}
    for _ in range(50):
        value = {'a': value, 'b': value}
    return value


CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    'code': _save({'model': {'w': torch.ones(2)}, 'x': Code()}),
    'code, before PyTorch 1.6': _save({'model': {'w': torch.ones(2)}, 'x': Code()}, legacy=True),
    'code, bare pickle': _write(pickle.dumps(Code(), 2)),
    'web page': _write(b'<!DOCTYPE html><html>Sign in</html>'),
    'storage claims 8 GB': _lie(legacy=False),
    'storage claims 8 GB, before 1.6': _lie(legacy=True),
    'tensor of 10**11 repeated values': _save({'w': torch.zeros(1).expand(10**11)}),
    'sparse tensor': _save({'w': torch.eye(3).to_sparse()}),
    'dictionaries shared without end, NaN': _save(
        {'model': _shared_dictionaries(), 'w': torch.tensor(float('nan'))}
    ),
    'archive of 1000:1': _compressed,
    'safetensors, header of a terabyte': _write(struct.pack('<Q', 1 << 40) + b'{"w":'),
    'safetensors, nested header': _write(struct.pack('<Q', 200000) + b'{"a":' * 40000),
}

READERS: dict[str, tuple[type[Exception], Callable[[Path], object]]] = {
    'checkpoint': (CheckpointError, load_checkpoint_file),
    'refs': (PickleError, lambda path: read_pickle(path, arrays=True)),
    'image': (OSError, lambda path: LoadHOIImage().transform({'img_path': str(path)})),
    'archive': (ArchiveError, lambda path: unpack(path, path.parent / 'out')),
}


def samples() -> Mapping[str, dict[str, Callable[[Path], object]]]:
    """Reader -> name of a sample -> what writes it."""
    return {
        'checkpoint': CHECKPOINTS,
        'refs': {name: _write(data) for name, data in REFS.items()},
        'image': {
            '30,000 x 30,000 PNG': lambda path: write_png(path, 30_000, 30_000),
            '65,000 x 20,000 PNG': lambda path: write_png(path, 65_000, 20_000),
        },
        'archive': ARCHIVES,
    }


def memory(field: str) -> int:
    """Bytes of ``VmRSS:`` or ``VmHWM:`` of this process."""
    with open('/proc/self/status') as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field)) << 10


def open_sample(reader: str, path: Path, pipe: Connection) -> None:
    """In a forked process: read the sample and tell what came of it."""
    expected, read = READERS[reader]
    before, began, outcome = memory('VmRSS:'), time.monotonic(), 'READ'
    try:
        read(path)
    except expected as error:
        lines = str(error).splitlines()
        outcome = 'refused' if len(lines) <= 3 else f'{len(lines)} LINES'
        outcome += ': ' + lines[0].replace(str(path), '')[:70].strip(' ,:')
    except BaseException as error:
        outcome = f'{type(error).__name__}: {error}'[:90]
    seconds = time.monotonic() - began
    pipe.send((outcome, seconds, (memory('VmHWM:') - before) / MB))


def judge(reader: str, write: Callable[[Path], object]) -> tuple[str, float, float]:
    """Outcome, seconds and megabytes of one sample."""
    with tempfile.TemporaryDirectory() as folder:
        deep = Path(folder, 'deep', 'deeper')
        deep.mkdir(parents=True)
        write(deep / 'sample')
        # where the code of a sample would leave its mark
        os.chdir(deep)
        context = multiprocessing.get_context('fork')
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=open_sample, args=(reader, deep / 'sample', send))
        process.start()
        send.close()
        try:
            result = receive.recv() if receive.poll(120) else ('NO END', 120.0, 0.0)
        except EOFError:
            result = ('KILLED', 0.0, 0.0)
        process.kill()
        process.join()
        os.chdir('/')
        left = [str(file.relative_to(folder)) for file in Path(folder).rglob('*')]
        stray = sorted(set(left) - {'deep', 'deep/deeper', 'deep/deeper/sample'})
        return (f'LEFT BEHIND {stray}', *result[1:]) if stray else result


def main() -> None:
    """Judge all samples and print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--only', choices=list(READERS), help='samples of one reader')
    only = parser.parse_args().only
    torch.set_num_threads(1)
    rows = []
    for reader, written in samples().items():
        for name, write in written.items():
            if only in (None, reader):
                outcome, seconds, size = judge(reader, write)
                rows.append((outcome.startswith('refused: '), seconds, size))
                line = f'{reader:<11}{name:<38}{seconds:7.2f} s {size:7.1f} MB  {outcome}'
                sys.stdout.write(line + '\n')
                sys.stdout.flush()
    report = {
        'samples': len(rows),
        'refused': sum(row[0] for row in rows),
        'most_seconds': round(max(row[1] for row in rows), 2),
        'most_megabytes': round(max(row[2] for row in rows), 1),
    }
    sys.stdout.write(json.dumps(report) + '\n')


if __name__ == '__main__':
    main()
