"""Fields of annotation files: each is what it should be, or an error says which one is not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmvl.engine.annotation_files import SEE_CHECK, is_text, shown
from mmvl.engine.images import MAX_PIXELS

# far beyond any image, and far from where single precision or a 64-bit index overflows
FARTHEST = 1e9


class Place(NamedTuple):
    """Where something stands: a file, and entry and field in it."""

    file: str
    field: str = ''

    def at(self, field: str) -> 'Place':
        """Go further in."""
        return Place(self.file, f'{self.field}{field}')

    def __str__(self) -> str:
        return f'{self.file}, {self.field}' if self.field else self.file


class AnnotationError(ValueError):
    """An annotation file does not hold what its form promises; the message says where.

    Attributes:
        kind: what is wrong, the same words for the same mistake, such as 'malformed entry',
            'bad box', 'empty sentence', 'unknown image'; 'unreadable annotation' for a whole file.
        place: file, entry and field.
        detail: what is there, and what was expected.
    """

    kind = 'unreadable annotation'
    place = Place('')
    detail = ''


Handler = Callable[[AnnotationError], object]
"""What a reader does with a fault; where that returns, the reader goes on behind the entry."""


class Entry(NamedTuple):
    """One sentence of an annotation file.

    Attributes:
        sample: the fields of the sample that the file tells: ``file_name``, ``img_id``,
            ``ref_id``, ``sent_id``, ``ann_id``, ``text``, ``box``, ``segmentation``.
        text_at: where the sentence stands.
        box_at: where the box stands; sentences about one thing share it.
        mask_at: where the mask stands.
        size: height and width of the image as the file declares them.
    """

    sample: dict[str, Any]
    text_at: Place
    box_at: Place
    mask_at: Place
    size: tuple[int, int] | None = None


def fault(
    kind: str, place: Place, detail: str, remedy: str = 'correct or remove it'
) -> AnnotationError:
    """Make the error of one field."""
    error = AnnotationError(f'{place}: {detail}.\nWhat to do: {remedy}; {SEE_CHECK}.')
    error.kind, error.place, error.detail = kind, place, detail
    return error


def get(entry: Any, key: str, place: Place) -> Any:
    """``entry[key]``.

    Raises:
        AnnotationError: there is no such key, or the entry is no dictionary.
    """
    if isinstance(entry, dict) and key in entry:
        return entry[key]
    found = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
    raise fault('malformed entry', place, f"key '{key}' is missing; found {shown(found)}")


def get_list(entry: Any, key: str, place: Place) -> list[Any] | tuple[Any, ...]:
    """``entry[key]``, a list."""
    value = get(entry, key, place)
    if not isinstance(value, (list, tuple)):
        detail = f'expected a list, got {shown(value)}'
        raise fault('malformed entry', place.at(f'.{key}'), detail)
    return value


def get_int(entry: Any, key: str, place: Place) -> int:
    """``entry[key]``, an integer of at most 64 bits."""
    value = get(entry, key, place)
    if type(value) is not int or not -(2**63) <= value < 2**63:
        detail = f'expected an integer, got {shown(value)}'
        raise fault('malformed entry', place.at(f'.{key}'), detail)
    return value


def get_name(entry: Any, key: str, place: Place) -> str:
    """``entry[key]``, a name that a file system can hold."""
    return file_name(get(entry, key, place), place.at(f'.{key}'))


def file_name(value: Any, place: Place) -> str:
    """Check the name of a file."""
    if not is_text(value) or not value or '\0' in value:
        raise fault('bad file name', place, f'expected a file name, got {shown(value)}')
    return value


def get_text(entry: Any, key: str, place: Place) -> str:
    """``entry[key]``, text of any length and script; it may be empty."""
    return text(get(entry, key, place), place.at(f'.{key}'))


def text(value: Any, place: Place) -> str:
    """Check text of any length and script; it may be empty."""
    if not is_text(value):
        raise fault('bad text', place, f'expected text, got {shown(value)}')
    return value


def get_size(entry: Any, place: Place) -> tuple[int, int]:
    """Height and width of an image entry, in pixels."""
    size = get_int(entry, 'height', place), get_int(entry, 'width', place)
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        detail = f'a size of {size[1]} x {size[0]} pixels'
        raise fault('malformed entry', place, detail)
    return size


def numbers(value: Any, place: Place) -> list[float]:
    """Four finite numbers of a list, a tuple or an array."""
    if isinstance(value, np.ndarray) and value.shape == (4,):
        value = value.tolist()
    if isinstance(value, (list, tuple)) and len(value) == 4:
        # numbers of numpy become Python's
        plain = [v.item() if isinstance(v, np.generic) else v for v in value]
        if all(type(v) in (int, float) and -FARTHEST < v < FARTHEST for v in plain):
            return plain
    raise fault('bad box', place, f'expected 4 finite numbers, got {shown(value)}')


def get_box(entry: Any, place: Place) -> np.ndarray:
    """``entry['bbox']``, x, y, width and height, as (4,) float32 xyxy."""
    x, y, width, height = numbers(get(entry, 'bbox', place), place.at('.bbox'))
    return np.array([x, y, x + width, y + height], dtype=np.float32)


def read_text(file: Path) -> str:
    """What is in a text file.

    Raises:
        AnnotationError: it is empty, or not UTF-8.
    """
    remedy = 'fetch the file again; it may be cut off, or another file than it says'
    if file.stat().st_size == 0:
        raise fault('unreadable annotation', Place(str(file)), 'the file is empty', remedy)
    try:
        return file.read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        detail = f'not a text file: {error.reason} at byte {error.start}'
        raise fault('unreadable annotation', Place(str(file)), detail, remedy) from None


def load_json(file: Path) -> dict[str, Any]:
    """What is in a JSON file, a dictionary.

    Raises:
        AnnotationError: it cannot be read, or holds something else.
    """
    try:
        content = json.loads(read_text(file))
    except AnnotationError:
        raise
    except json.JSONDecodeError as error:
        detail = f'not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}'
    except RecursionError:
        detail = 'nested far too deeply'
    except ValueError as error:  # numbers of thousands of digits
        detail = f'cannot be read: {error}'
    else:
        if isinstance(content, dict):
            return content
        detail = f'expected a dictionary, got {shown(content)}'
    remedy = 'fetch the file again; it may be cut off, or another file than it says'
    raise fault('unreadable annotation', Place(str(file)), detail, remedy) from None
