"""What the readers of annotation files of all wings need."""

import reprlib
from pathlib import Path


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
