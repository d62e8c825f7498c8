import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvl.engine.images import (
    MAX_PIXELS,
    Finding,
    ImageError,
    check_image,
    check_images,
    missing_files,
    read_image,
)


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    """(120, 160, 3) smooth colours, so that a grey area would differ."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((160, 120)))


def encoded(picture: np.ndarray, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def header_only(path: Path, width: int, height: int) -> Path:
    """A PNG that announces a size and holds no pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        )

    ihdr = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + ihdr + chunk(b'IDAT', b'') + chunk(b'IEND', b''))
    return path


def kinds(path: Path) -> list[str]:
    return [finding.kind for finding in check_image(path).findings]


@pytest.mark.parametrize(('kind', 'suffix'), [('PNG', '.png'), ('BMP', '.bmp'), ('PPM', '.ppm')])
def test_pixels_survive(picture, tmp_path, kind, suffix):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(encoded(picture, kind))
    np.testing.assert_array_equal(read_image(path), picture)
    assert check_image(path) == ((120, 160), ())


def test_missing_file_is_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError) as info:
        read_image(tmp_path / 'none.jpg')
    assert info.value.filename == str(tmp_path / 'none.jpg')
    missing = Finding('missing image', 'there is no such file', True)
    assert check_image(tmp_path / 'none.jpg') == (None, (missing,))


@pytest.mark.parametrize(
    ('data', 'kind', 'reason'),
    [
        (b'', 'empty image', 'the file is empty'),
        (b'<html>not found</html>', 'damaged image', 'not an image, or none of JPEG'),
        # Pillow would start Ghostscript for this
        (
            b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF',
            'damaged image',
            'not an image',
        ),
    ],
)
def test_what_is_no_image(tmp_path, data, kind, reason):
    (tmp_path / 'a.jpg').write_bytes(data)
    with pytest.raises(ImageError, match=reason) as info:
        read_image(tmp_path / 'a.jpg')
    assert info.value.kind == kind
    assert str(tmp_path / 'a.jpg') in str(info.value)
    assert str(info.value).count('\n') == 1
    assert kinds(tmp_path / 'a.jpg') == [kind]


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('share', [0.05, 0.3, 0.7, 0.99])
def test_no_part_is_made_up(picture, tmp_path, kind, share):
    path = tmp_path / f'a.{kind.lower()}'
    whole = encoded(picture, kind)
    kept = whole[: int(share * len(whole))]
    # cut off, and as a broken download leaves it in a file of the right length
    for data in (kept, kept.ljust(len(whole), b'\0')):
        path.write_bytes(data)
        with pytest.raises(ImageError, match='Cannot read the image'):
            read_image(path)
        assert kinds(path) == ['damaged image']


@pytest.mark.parametrize('progressive', [False, True])
def test_gap_that_decoders_fill_is_found(picture, tmp_path, capfd, progressive):
    path, whole = tmp_path / 'a.jpg', encoded(picture, 'JPEG', progressive=progressive)
    half = len(whole) // 2
    for data in (whole[:half] + b'\xff\xd9', whole[:half] + b'\xff\xd0' + whole[half + 2 :]):
        path.write_bytes(data)
        size, (finding,) = check_image(path)
        assert size == (120, 160)
        assert finding.kind == 'damaged image' and finding.is_error
        assert 'premature end' in finding.detail
    # bytes behind the end cost nothing
    path.write_bytes(whole + b'x' * 100)
    assert kinds(path) == []
    assert capfd.readouterr().err == ''


@pytest.mark.parametrize('size', [(9_460, 9_460), (20_000, 20_000), (30_000, 30_000)])
@pytest.mark.parametrize('limit', [None, 1 << 40, MAX_PIXELS])
def test_size_is_refused_whatever_the_limit_of_the_library(tmp_path, monkeypatch, size, limit):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)
    path = header_only(tmp_path / 'a.png', *size)
    with pytest.raises(ImageError, match='exceed.*decompression bomb') as info:
        read_image(path)
    assert info.value.kind == 'image too large'
    assert str(info.value).count('\n') == 1
    assert kinds(path) == ['image too large']


def test_largest_size_is_not_refused_for_its_size(tmp_path):
    assert 9_459 * 9_459 < MAX_PIXELS < 9_460 * 9_460
    # there is nothing behind the header
    assert kinds(header_only(tmp_path / 'a.png', 9_459, 9_459)) == ['damaged image']


def test_notes_on_readable_images(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = {
        'png.jpg': encoded(picture, 'PNG'),
        'turned.JPG': encoded(picture, 'JPEG', exif=exif),
        'print.jpg': encoded(np.dstack([picture, picture[..., :1]]), 'TIFF'),
    }
    for name, content in data.items():
        (tmp_path / name).write_bytes(content)
        assert read_image(tmp_path / name).shape == (120, 160, 3)
    expected = {
        'png.jpg': [('mislabelled image', 'PNG content named .jpg')],
        'turned.JPG': [('rotated by EXIF', 'orientation 6 is not applied')],
        'print.jpg': [
            ('mislabelled image', 'TIFF content named .jpg'),
            ('unusual colours', 'mode RGBA, read as RGB'),
        ],
    }
    for name, notes in expected.items():
        found = check_image(tmp_path / name).findings
        assert found == tuple(Finding(*note, is_error=False) for note in notes)


def test_many_are_checked_in_order(picture, tmp_path):
    paths = [tmp_path / f'{i}.png' for i in range(80)]
    for i, path in enumerate(paths):
        if i % 7 == 1:
            path.write_bytes(b'x')
        elif i % 7:
            path.write_bytes(encoded(picture[: i + 1], 'PNG'))
    for some in (paths, paths[:5]):
        results = check_images(some)
        sizes = [None if i % 7 < 2 else (i + 1, 160) for i in range(len(some))]
        assert [result.size for result in results] == sizes
        found = [[finding.kind for finding in result.findings] for result in results]
        kind = {0: ['missing image'], 1: ['damaged image']}
        assert found == [kind.get(i % 7, []) for i in range(len(some))]


def test_missing_files(tmp_path, monkeypatch):
    for name in ('a/1.jpg', 'a/2.jpg', 'b/1.jpg'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ['a/1.jpg', 'a/3.jpg', 'b/1.jpg', 'c/1.jpg', 'a/1.jpg/x', 'b/2.jpg']
    assert missing_files([str(tmp_path / name) for name in names]) == [1, 3, 4, 5]
    monkeypatch.chdir(tmp_path / 'a')
    assert missing_files(['1.jpg', '9.jpg']) == [1]
