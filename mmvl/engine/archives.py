"""Unpacking archives that nobody has checked: tar and zip, without leaving the target folder."""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from tqdm import tqdm

# The headers of a member are read in one piece; a name has a few hundred bytes.
MAX_HEADER = 1 << 20
CHUNK = 1 << 20

OPENERS: tuple[tuple[bytes, Any], ...] = (
    (b'\x1f\x8b', gzip.open),
    (b'BZh', bz2.open),
    (b'\xfd7zXZ\x00', lzma.open),
    (b']\x00\x00', lzma.open),
)
"""First bytes of a compressed file -> what opens it."""


# What the system says about impossible names; compression libraries raise OSError without a number.
NAME_ERRORS = (None, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


class ArchiveError(ValueError):
    """An archive is damaged, or its members are not safe to unpack."""


class Readable(Protocol):
    """A member's contents."""

    def read(self, count: int, /) -> bytes:
        """Give at most ``count`` bytes, none at the end."""


def unpack(
    archive: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    max_bytes: int = 200 << 30,
    max_ratio: float = 200,
    max_members: int = 2_000_000,
) -> None:
    """Unpack a tar file (plain, gzip, bzip2, xz) or a zip file into a new folder.

    The kind is recognised by the first bytes. Files are written into a temporary folder beside
    ``folder``, which is renamed when everything is on disk: ``folder`` is complete or not there.
    Only regular files and folders are unpacked, with the permissions of newly made files.

    Args:
        archive: the file.
        folder: the folder to make; one that exists must be empty.
        max_bytes: limit of the unpacked bytes, announced and written.
        max_ratio: limit of the unpacked bytes over the bytes of the archive.
        max_members: limit of the number of files and folders.

    Raises:
        FileNotFoundError: there is no such archive.
        ArchiveError: the archive is damaged or neither of the two kinds; a member is a link or a
            device, or lies outside the folder, or occurs twice; a limit is exceeded; ``folder``
            is not empty. Nothing is left behind.
        OSError: the disk refused. Nothing is left behind.
    """
    source, target = Path(archive).expanduser(), Path(folder).expanduser()
    if not source.is_file():
        raise FileNotFoundError(
            f'{source} does not exist.\n'
            f'What to do: check the path; relative paths start at {Path.cwd()}.'
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArchiveError(f'{target} is not empty.\nWhat to do: name a folder that is not there.')
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f'{target.name}.tmp.{os.getpid()}')
    temporary.mkdir()
    try:
        with tqdm(desc=source.name, unit='B', unit_scale=True, disable=None) as bar:
            limit = int(min(max_bytes, max_ratio * source.stat().st_size))
            writer = _Writer(source, temporary, max_bytes, limit, max_members, bar)
            with _refusing(source):
                _unpack_into(writer)
        # Once for all files; one at a time, 50,000 images would take minutes.
        os.sync()
        os.rename(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse(source: Path, what: str, remedy: str | None = None) -> ArchiveError:
    remedy = remedy or 'do not unpack it by other means; get it from its authors'
    return ArchiveError(f'{source} {what}.\nWhat to do: {remedy}.')


@contextmanager
def _refusing(source: Path) -> Iterator[None]:
    """Turn what the libraries say about a damaged archive into a refusal."""
    try:
        yield
    except ArchiveError:
        raise
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        IndexError,
        MemoryError,
    ) as error:
        if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
            raise
        text = ' '.join(str(error).split())[:120] or type(error).__name__
        raise _refuse(source, f'is damaged ({text})', 'download it again') from None


class _Writer:
    """Writes members into the temporary folder and counts what is really written."""

    def __init__(
        self, source: Path, root: Path, most: int, limit: int, members: int, bar: tqdm
    ) -> None:
        self.source, self.root = source, root
        self.most, self.limit, self.members = most, limit, members
        self._written = self._count = 0
        self._bar = bar

    def refuse(self, name: str, what: str) -> ArchiveError:
        """Word an error about a member."""
        return _refuse(self.source, f'holds {name[:200]!r}, which {what}')

    def announce(self, total: int) -> None:
        """Check what the archive says that it holds, before anything is written."""
        if total > self.limit:
            raise self._too_large(total)

    def folder(self, name: str) -> None:
        """Make a folder."""
        self._inside(name).mkdir(parents=True, exist_ok=True)

    def file(self, name: str, size: int, content: Readable) -> None:
        """Write a file, of which the archive says that it has ``size`` bytes."""
        path = self._inside(name)
        self.announce(self._written + size)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise self.refuse(name, 'occurs twice')
        length = 0
        with open(path, 'xb') as stream:
            while chunk := content.read(CHUNK):
                length += len(chunk)
                self._written += len(chunk)
                self.announce(self._written)
                stream.write(chunk)
                self._bar.update(len(chunk))
        if length != size:
            raise self.refuse(name, f'has {length:,} bytes and not the announced {size:,}')

    def _inside(self, name: str) -> Path:
        self._count += 1
        if self._count > self.members:
            raise _refuse(self.source, f'has more than {self.members:,} members')
        # Windows programs write backslashes, which are part of a name here
        parts = PurePosixPath(name.replace('\\', '/')).parts
        if not name or '\0' in name:
            raise self.refuse(name, 'is no name of a file')
        if parts[:1] == ('/',) or name[1:2] == ':':
            raise self.refuse(name, 'is an absolute path')
        if '..' in parts:
            raise self.refuse(name, 'leaves the folder')
        # There are no links in the temporary folder, so names alone decide.
        return self.root.joinpath(*parts)

    def _too_large(self, total: int) -> ArchiveError:
        packed = self.source.stat().st_size
        if total > self.most:
            what = f'unpacks to {total:,} bytes, more than the {self.most:,} allowed'
        else:
            what = f'unpacks {packed:,} to {total:,} bytes, more than {self.limit / packed:.0f}:1'
        return _refuse(self.source, what)


def _unpack_into(writer: _Writer) -> None:
    with open(writer.source, 'rb') as stream:
        head = stream.read(262)
    if head.startswith((b'PK\x03\x04', b'PK\x05\x06')):
        with zipfile.ZipFile(writer.source) as archive:
            _unpack_zip(archive, writer)
        return
    opener: Any = next((opener for magic, opener in OPENERS if head.startswith(magic)), open)
    with opener(writer.source, 'rb') as stream:
        bounded: Any = _Bounded(stream, writer)
        try:
            tar = tarfile.open(fileobj=bounded, mode='r:')
        except tarfile.ReadError as error:
            # tarfile says the same of a file that breaks off in its first member
            raise _refuse(
                writer.source, f'is no tar and no zip archive ({error})', 'check the file'
            ) from None
        with tar:
            _unpack_tar(tar, bounded, writer)


def _unpack_zip(archive: zipfile.ZipFile, writer: _Writer) -> None:
    members = archive.infolist()
    if len(members) > writer.members:
        raise _refuse(writer.source, f'has more than {writer.members:,} members')
    writer.announce(sum(member.file_size for member in members))
    for member in members:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise writer.refuse(member.filename, 'is a link or a device')
        if member.flag_bits & 1:
            raise writer.refuse(member.filename, 'is encrypted')
        if member.is_dir():
            writer.folder(member.filename)
        else:
            with archive.open(member) as content:
                writer.file(member.filename, member.file_size, content)


def _unpack_tar(archive: tarfile.TarFile, stream: '_Bounded', writer: _Writer) -> None:
    while (member := archive.next()) is not None:
        # The library keeps every member; two million are gigabytes.
        archive.members.clear()  # type: ignore[attr-defined]
        if member.isdir():
            writer.folder(member.name)
        elif member.isreg() and member.sparse is None:
            content = archive.extractfile(member)
            assert content is not None  # it is for regular files
            writer.file(member.name, member.size, content)
        else:
            raise writer.refuse(member.name, 'is a link, a device or a file with holes')
    # The library takes a damaged header for the end, which is an empty block.
    stream.seek(archive.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise _refuse(
            writer.source,
            f'is truncated or damaged at byte {archive.offset:,}',
            'download it again',
        )
    # To its end, where compressed files have their checksum.
    while stream.read(CHUNK):
        pass


class _Bounded:
    """An unpacked tar stream that gives no more at a time than a header needs."""

    def __init__(self, stream: IO[bytes], writer: _Writer) -> None:
        self._stream = stream
        self._writer = writer
        self.tell = stream.tell
        self.seekable = stream.seekable

    def read(self, count: int = -1) -> bytes:
        """Read, unless a header claims to be larger than any is, or the whole is too large."""
        if not 0 <= count <= MAX_HEADER:
            raise _refuse(self._writer.source, f'has a header of {count:,} bytes')
        data = self._stream.read(count)
        if self._stream.tell() > self._writer.most:
            raise _refuse(self._writer.source, 'unpacks to more bytes than allowed')
        return data

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        return self._stream.seek(position, whence)
