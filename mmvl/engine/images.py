"""Reading image files into one documented form, and checking many of them.

Only the formats of data sets are opened; the size is checked before anything is decoded. A file
that cannot be decoded to its end is refused, never filled up with grey.
"""

import os
import tempfile
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

MAX_PIXELS = 89_478_485
"""Largest image that is decoded, 256 MB of RGB; Pillow warns from here on."""

# format -> suffixes; formats that need another program, such as EPS, are never opened
SUFFIXES = {
    'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
    'PNG': ('.png',),
    'BMP': ('.bmp', '.dib'),
    'GIF': ('.gif',),
    'PPM': ('.ppm', '.pgm', '.pbm', '.pnm'),
    'TIFF': ('.tif', '.tiff'),
    'WEBP': ('.webp',),
}
PLAIN_MODES = ('RGB', 'L')
EXIF_ORIENTATION = 0x0112
IMAGES_PER_PROCESS = 32


class ImageError(OSError):
    """A file is no image, is damaged, or is too large to decode.

    Attributes:
        kind: 'damaged image', 'empty image' or 'image too large'.
    """

    kind = 'damaged image'


class Finding(NamedTuple):
    """What there is to say about an image; an error if it cannot be read."""

    kind: str
    detail: str
    is_error: bool = False


class ImageCheck(NamedTuple):
    """Result of :func:`check_image`: (height, width) of a readable image, and what was found."""

    size: tuple[int, int] | None
    findings: tuple[Finding, ...]


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read an image.

    Palettes are resolved, CMYK is converted, an alpha channel is dropped, 16-bit grey keeps its
    upper eight bits. An EXIF orientation is not applied: annotations refer to the stored pixels.
    The first picture of several is read.

    Args:
        path: JPEG, PNG, BMP, GIF, PPM, TIFF or WebP, recognised by content.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: there is no such file.
        ImageError: the file is empty, cut off, damaged or no image, or has more than
            :data:`MAX_PIXELS` pixels, which is found before it is decoded.
    """
    image = _load(path)
    if not image.mode.startswith('I'):
        return np.asarray(image.convert('RGB'))
    grey = (np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _load(path: str | os.PathLike) -> Image.Image:
    try:
        with _open(path) as image:
            if image.format == 'PNG':
                # Pillow decodes past a wrong checksum, and leaves black what it cannot decode
                with _open(path) as again:
                    again.verify()
            image.load()
            return image
    except (FileNotFoundError, ImageError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _refusal(path, str(error), 'image too large') from error
    except Image.UnidentifiedImageError as error:
        if Path(path).stat().st_size == 0:
            raise _refusal(path, 'the file is empty', 'empty image') from error
        known = ', '.join(SUFFIXES)
        raise _refusal(path, f'not an image, or none of {known}', 'damaged image') from error
    # A damaged file provokes nearly any error in a decoder; each means the same.
    except Exception as error:
        raise _refusal(path, f'{error}' or type(error).__name__, 'damaged image') from error


def _open(path: str | os.PathLike) -> Image.Image:
    """Read the header; refuse what is too large, whatever Pillow's own limit is set to."""
    with warnings.catch_warnings():
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        image = Image.open(path, formats=tuple(SUFFIXES))
    if image.width * image.height > MAX_PIXELS:
        image.close()
        size = f'{image.width} x {image.height} pixels exceed the limit of {MAX_PIXELS:,}'
        raise _refusal(path, f'{size}, could be a decompression bomb', 'image too large')
    return image


def _refusal(path: str | os.PathLike, reason: str, kind: str) -> ImageError:
    remedy = 'fetch it again, or make it smaller if it is too large'
    reason = ' '.join(reason.split())
    error = ImageError(f'Cannot read the image {path}: {reason}.\nWhat to do: {remedy}.')
    error.kind = kind
    return error


def missing_files(paths: Sequence[str]) -> list[int]:
    """Places of the paths that name no file; each folder is listed once, which is fast."""
    parts = [os.path.split(path) for path in paths]
    there = {folder: _names_in(folder) for folder in {folder for folder, _ in parts}}
    return [i for i, (folder, name) in enumerate(parts) if name not in there[folder]]


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder or '.'))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def check_image(path: str | os.PathLike) -> ImageCheck:
    """Decode an image to its end, and say what is wrong or unusual about it.

    Errors: 'missing image', and the kinds of :class:`ImageError`; a JPEG counts as damaged also
    where decoders fill a gap with grey. Notes: 'mislabelled image' (content of another format than
    its suffix), 'unusual colours' (neither RGB nor grey), 'rotated by EXIF'.
    """
    try:
        image = _load(path)
        kind = 'JPEG' if image.format == 'MPO' else image.format or ''
        gap = _jpeg_gap(path) if kind == 'JPEG' else ''
    except FileNotFoundError:
        return ImageCheck(None, (Finding('missing image', 'there is no such file', True),))
    except ImageError as error:
        detail = str(error).splitlines()[0].removeprefix(f'Cannot read the image {path}: ')
        return ImageCheck(None, (Finding(error.kind, detail.removesuffix('.'), True),))
    found = [Finding('damaged image', gap, True)] if gap else []
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES[kind]:
        found.append(Finding('mislabelled image', f'{kind} content named {suffix or "without"}'))
    if image.mode not in PLAIN_MODES:
        found.append(Finding('unusual colours', f'mode {image.mode}, read as RGB'))
    orientation = _orientation(image)
    if orientation != 1:
        found.append(Finding('rotated by EXIF', f'orientation {orientation} is not applied'))
    return ImageCheck((image.height, image.width), tuple(found))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # damaged EXIF data, which nothing else looks at
        return 1


def _jpeg_gap(path: str | os.PathLike) -> str:
    """What libjpeg complains about without failing, such as a gap that it fills; '' if nothing.

    Pillow keeps such warnings to itself; OpenCV's libjpeg writes them to the standard error of the
    process, where they are caught.
    """
    data = np.fromfile(path, np.uint8)
    with tempfile.TemporaryFile() as caught:
        stderr = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        caught.seek(0)
        said = caught.read().decode(errors='replace')
    # other complaints, such as stray bytes between two markers, cost no pixels
    complaints = [line for line in said.splitlines() if 'orrupt JPEG data' in line]
    return next((line for line in complaints if 'extraneous' not in line), '')


def check_images(paths: Sequence[str | os.PathLike]) -> list[ImageCheck]:
    """Run :func:`check_image` on many files in several processes, with a progress bar."""
    processes = min(os.cpu_count() or 1, len(paths) // IMAGES_PER_PROCESS)
    with tqdm(total=len(paths), desc='images', unit='', disable=None) as bar:
        if processes < 2:
            return [_counted(check_image(path), bar) for path in paths]
        with ProcessPoolExecutor(processes) as pool:
            results = pool.map(check_image, paths, chunksize=IMAGES_PER_PROCESS // 4)
            return [_counted(result, bar) for result in results]


def _counted(result: ImageCheck, bar: tqdm) -> ImageCheck:
    bar.update()
    return result
