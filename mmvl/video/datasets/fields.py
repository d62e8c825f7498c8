"""Fields of annotation files: each is what it should be, or an error says which one is not."""

import json
import reprlib
from pathlib import Path, PurePosixPath
from typing import Any

from mmvl.engine.annotation_files import existing, fault

REFETCH = 'fetch the file again; it may be cut off, or another file than it says'


def load_json(path: str | Path, kind: type, layout: str) -> Any:
    """What is in a JSON file, a ``dict`` or a ``list``.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: it cannot be read, or holds something else.
    """
    file = existing(path, layout)
    try:
        content = json.loads(file.read_text(encoding='utf-8'))
    except RecursionError:
        detail = 'nested far too deeply'
    except ValueError as error:  # no UTF-8, no JSON, or numbers of thousands of digits
        detail = f'not valid JSON: {str(error)[:120]}' if file.stat().st_size else 'it is empty'
    else:
        if isinstance(content, kind):
            return content
        detail = f'expected a {kind.__name__}, got {reprlib.repr(content)}'
    raise fault('unreadable annotation', file, '', detail, REFETCH) from None


def get(entry: Any, key: str, kind: type, file: str | Path, where: str) -> Any:
    """``entry[key]``, of a kind.

    Raises:
        AnnotationError: there is no such key, or its value is of another kind.
    """
    if not isinstance(entry, dict) or key not in entry:
        found = sorted(map(str, entry)) if isinstance(entry, dict) else type(entry).__name__
        detail = f"key '{key}' is missing; found {reprlib.repr(found)}"
        raise fault('malformed entry', file, where, detail)
    return of_kind(entry[key], kind, file, f'{where}.{key}')


def of_kind(value: Any, kind: type, file: str | Path, where: str) -> Any:
    """Check the kind of a value; True is no integer."""
    if type(value) is not kind:
        detail = f'expected {kind.__name__}, got {reprlib.repr(value)}'
        raise fault('malformed entry', file, where, detail)
    return value


def sentence(value: Any, file: str | Path, where: str, as_written: bool = False) -> str:
    """A sentence: lower case and one space between words, unless it is to stay as written.

    Raises:
        AnnotationError: it is no text, or has no word in it.
    """
    words = of_kind(value, str, file, where).lower().split()
    if not words:
        raise fault('empty sentence', file, where, 'a sentence without a word')
    return value if as_written else ' '.join(words)


def file_part(value: Any, file: str | Path, where: str) -> str:
    """A relative path that does not leave its folder, such as the name of a video.

    Raises:
        AnnotationError: it is no such path.
    """
    path = PurePosixPath(value) if isinstance(value, str) else None
    if path is None or not path.parts or path.is_absolute() or '..' in path.parts or '\0' in value:
        raise fault('bad file name', file, where, f'expected a name, got {reprlib.repr(value)}')
    return str(path)
