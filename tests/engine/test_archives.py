import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from mmvl.engine.archives import ArchiveError, unpack

FILES = {'images/a.jpg': os.urandom(3000), 'images/deep/b.jpg': b'', 'c.txt': b'text'}


def make_tar(path, members=None, how='w', **fields):
    """A tar file; ``fields`` are set on every member."""
    with tarfile.open(path, how) as archive:
        for name, data in (FILES if members is None else members).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def make_zip(path, members=None, mode=0, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', method) as archive:
        for name, data in (FILES if members is None else members).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, compress_type=method)
    return path


def content(folder):
    files = (file for file in folder.rglob('*') if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def refused(archive, said, **limits):
    """Unpacking is refused, in three lines, and leaves nothing anywhere."""
    before = sorted(archive.parent.rglob('*'))
    with pytest.raises(ArchiveError, match=said) as info:
        unpack(archive, archive.parent / 'out', **limits)
    assert sorted(archive.parent.rglob('*')) == before
    assert str(archive) in str(info.value)
    assert 'What to do' in str(info.value)
    assert len(str(info.value).splitlines()) <= 3


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2', 'w:xz'])
@pytest.mark.parametrize('format_', [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_is_recognised_by_its_bytes(tmp_path, mode, format_):
    # The name says zip; a long name goes into a header of its own.
    files = {**FILES, 'd' * 90 + '/' + 'e' * 60: b'long'}
    with tarfile.open(tmp_path / 'a.zip', mode, format=format_) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    unpack(tmp_path / 'a.zip', tmp_path / 'deep' / 'out')
    assert content(tmp_path / 'deep' / 'out') == files
    assert os.listdir(tmp_path / 'deep') == ['out']


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_zip_into_an_empty_folder(tmp_path, method):
    archive = make_zip(tmp_path / 'a.tar', {**FILES, 'empty/': b''}, method=method)
    (tmp_path / 'out').mkdir()
    unpack(archive, tmp_path / 'out')
    assert content(tmp_path / 'out') == FILES
    assert (tmp_path / 'out' / 'empty').is_dir()


def test_permissions_are_those_of_new_files(tmp_path):
    unpack(make_tar(tmp_path / 'a.tar', mode=0o4777), tmp_path / 'out')
    (tmp_path / 'new').write_text('')
    new = stat.S_IMODE((tmp_path / 'new').stat().st_mode)
    assert stat.S_IMODE((tmp_path / 'out' / 'c.txt').stat().st_mode) == new
    (tmp_path / 'folder').mkdir()
    assert (tmp_path / 'out').stat().st_mode == (tmp_path / 'folder').stat().st_mode


@pytest.mark.parametrize('make', [make_tar, make_zip])
@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('../x', 'leaves the folder'),
        ('a/../../x', 'leaves the folder'),
        ('..\\x', 'leaves the folder'),
        ('/x', 'absolute path'),
        ('\\x', 'absolute path'),
        ('C:\\x', 'absolute path'),
        ('c.txt/x', 'damaged'),
        ('f' * 300, 'damaged'),
    ],
)
def test_names_that_leave_the_folder(tmp_path, make, name, said):
    refused(make(tmp_path / 'a', {**FILES, name: b'x'}), said)


def test_a_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a', 'w') as archive, pytest.warns(UserWarning, match='Dup'):
        archive.writestr('x', '1')
        archive.writestr('x', '2')
    refused(tmp_path / 'a', 'occurs twice')


@pytest.mark.parametrize(
    'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_in_a_tar(tmp_path, kind):
    archive = make_tar(tmp_path / 'a', {'x': b''}, type=kind, linkname='c.txt')
    refused(archive, 'is a link, a device')


@pytest.mark.parametrize('kind', [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, kind):
    refused(make_zip(tmp_path / 'a', {'x': b'/etc/passwd'}, kind | 0o777), 'is a link or a device')


@pytest.mark.parametrize('make', [make_tar, make_zip])
def test_limits(tmp_path, make):
    archive = make(tmp_path / 'a')
    refused(archive, 'more than 2 members', max_members=2)
    refused(archive, r'more than the 2,999 allowed', max_bytes=2_999)
    unpack(archive, tmp_path / 'out', max_members=3, max_bytes=20_000)


@pytest.mark.parametrize('mode', ['gz', 'bz2', 'xz', 'zip'])
def test_ratio(tmp_path, mode):
    zeros = {'x': bytes(10_000_000)}
    if mode == 'zip':
        archive = make_zip(tmp_path / 'a', zeros)
    else:
        archive = make_tar(tmp_path / 'a', zeros, f'w:{mode}')
    refused(archive, 'to 10,000,000 bytes, more than 200:1')
    unpack(archive, tmp_path / 'out', max_ratio=1_000_000)
    assert (tmp_path / 'out' / 'x').stat().st_size == 10_000_000


def lie(archive, size):
    """Change the sizes that a zip file of one member announces."""
    data = bytearray(archive.read_bytes())
    for magic, offset in ((b'PK\x03\x04', 22), (b'PK\x01\x02', 24)):
        struct.pack_into('<I', data, data.index(magic) + offset, size)
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize(('size', 'said'), [(10, 'CRC'), (5000, 'has 4,000 bytes and not')])
def test_a_zip_that_lies_about_sizes(tmp_path, size, said):
    archive = make_zip(tmp_path / 'a', {'x': os.urandom(4000)})
    refused(lie(archive, size), said)


def test_a_tar_that_lies_about_sizes(tmp_path):
    header = tarfile.TarInfo('x')
    header.size = 10**6
    (tmp_path / 'a').write_bytes(header.tobuf() + bytes(2048))
    refused(tmp_path / 'a', 'damaged|1,000,000')
    header.size = 10**15
    (tmp_path / 'b').write_bytes(header.tobuf() + bytes(2048))
    refused(tmp_path / 'b', 'unpacks to 1,000,000,000,000,000 bytes')


@pytest.mark.parametrize('kind', [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(tmp_path, kind):
    header = tarfile.TarInfo('x')
    header.type, header.size = kind, 50_000_000
    with gzip.open(tmp_path / 'a', 'wb') as stream:
        stream.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(50_000_000))
    refused(tmp_path / 'a', r'has a header of 50,\d+,\d+ bytes')


def test_a_file_with_holes(tmp_path):
    header = tarfile.TarInfo('x')
    header.type = tarfile.GNUTYPE_SPARSE
    data = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    data[483:495] = b'%011o ' % 10**9
    data[148:156] = b'%06o\0 ' % tarfile.calc_chksums(bytes(data[:512]))[0]
    (tmp_path / 'a').write_bytes(data + bytes(1024))
    refused(tmp_path / 'a', 'file with holes')


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2', 'w:xz', 'zip'])
def test_every_cut_is_noticed(tmp_path, mode):
    make = make_zip if mode == 'zip' else make_tar
    archive = make(tmp_path / 'a') if mode == 'zip' else make(tmp_path / 'a', how=mode)
    whole = archive.read_bytes()
    # a tar has ten kilobytes of padding behind its end
    end = 512 * (2 + 6 + 1 + 2) if mode == 'w' else len(whole)
    for cut in range(0, end, 256):
        archive.write_bytes(whole[:cut])
        refused(archive, 'damaged|truncated|no tar|announced')


def test_a_damaged_header_is_not_the_end(tmp_path):
    archive = make_tar(tmp_path / 'a')
    data = bytearray(archive.read_bytes())
    place = data.index(b'c.txt')
    data[place] = ord('d')
    archive.write_bytes(data)
    refused(archive, f'truncated or damaged at byte {place:,}')


def test_a_flipped_byte_in_a_compressed_file(tmp_path):
    archive = make_tar(tmp_path / 'a', {'x': os.urandom(5000)}, 'w:gz')
    data = bytearray(archive.read_bytes())
    data[2500] ^= 1
    archive.write_bytes(data)
    refused(archive, 'damaged')


def test_what_is_no_archive(tmp_path):
    (tmp_path / 'a').write_bytes(b'<!DOCTYPE html>' * 100)
    refused(tmp_path / 'a', 'is no tar and no zip')
    (tmp_path / 'b').write_bytes(b'')
    refused(tmp_path / 'b', 'is no tar and no zip')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        unpack(tmp_path / 'none', tmp_path / 'out')


def test_a_folder_with_something_in_it_is_not_touched(tmp_path):
    archive = make_tar(tmp_path / 'a')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'mine').write_text('old')
    with pytest.raises(ArchiveError, match='is not empty'):
        unpack(archive, tmp_path / 'out')
    assert content(tmp_path / 'out') == {'mine': b'old'}


def test_a_full_disk_is_not_called_damage(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    archive = make_tar(tmp_path / 'a')
    monkeypatch.setattr(os, 'sync', full)
    with pytest.raises(OSError, match='No space left'):
        unpack(archive, tmp_path / 'out')
    assert os.listdir(tmp_path) == ['a']
