"""What the readers of annotation files of all wings need."""

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

SEE_CHECK = '`mmvl data check CONFIG` lists all that is wrong'


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        # the digits of a very large number are refused by Python itself
        return super().repr_int(x, level) if x.bit_length() < 128 else 'a very large number'


_SHORT = _Short()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxother = 3, 6, 4, 60, 60


def shown(value: object) -> str:
    """A value from a file in one short line, whatever it is."""
    return _SHORT.repr(value)


def is_text(value: object) -> bool:
    """Whether a value is text that can be written; half of a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
        return True
    except UnicodeEncodeError:
        return False


def existing(path: str | Path, layout: str) -> Path:
    """Check that an annotation file is there.

    Args:
        path: of the file.
        layout: the folders and files that are expected, in one line.

    Raises:
        FileNotFoundError: it is not; the message shows where the files are expected.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f'Annotation file not found: {path}\nExpected {layout}.\n'
            'What to do: set data_root (such as --cfg-options data_root=YOUR/PATH) or ann_file.'
        )
    return file


class AnnotationError(ValueError):
    """An annotation file does not hold what its form promises; the message says where.

    Attributes:
        kind: what is wrong, the same words for the same mistake, such as 'malformed entry',
            'empty sentence', 'zero frames', 'missing camera', 'broken quaternion', 'other grid'.
        file: the file.
        where: entry and field in it.
        detail: what is there, and what was expected.
    """

    kind = 'unreadable annotation'
    file = ''
    where = ''
    detail = ''


Handler = Callable[[AnnotationError], object]
"""What a reader does with a fault; where that returns, the reader goes on behind the entry."""


def fault(
    kind: str,
    file: str | Path,
    where: str,
    detail: str,
    remedy: str = f'correct or remove it; {SEE_CHECK}',
) -> AnnotationError:
    """Make the error of one field."""
    place = f'{file}, {where}' if where else f'{file}'
    error = AnnotationError(f'{place}: {detail}.\nWhat to do: {remedy}.')
    error.kind, error.file, error.where, error.detail = kind, str(file), where, detail
    return error


def stop(error: ValueError) -> NoReturn:
    """Handle a fault by raising it, which ends the reading."""
    raise error
