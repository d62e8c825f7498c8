"""What more than one annotation reader needs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mmvl.engine.annotation_files import SEE_CHECK, is_text, shown


class AnnotationError(ValueError):
    """An annotation file does not hold what its form promises; the message says where.

    Attributes:
        kind: what is wrong, the same words for the same mistake: 'malformed entry', 'bad box',
            'unknown object', 'unknown verb', 'bad index', 'bad file name'; 'unreadable annotation'
            for the file as a whole.
        where: file, entry and field.
        detail: what is there, and what was expected.
    """

    kind = 'unreadable annotation'
    where = ''
    detail = ''


Report = Callable[[AnnotationError], None]
"""What a reader does with a fault. One that returns gets the others too: the reader goes on with
NaN for a box, -1 for an object or verb, and interaction (0, 0, -1)."""

BAD_HOI = (0, 0, -1)
BAD_BOX = (float('nan'),) * 4


def fault(kind: str, where: str, detail: str, expected: str) -> AnnotationError:
    """Make the error of one field.

    Args:
        kind: see :class:`AnnotationError`.
        where: file, entry and field.
        detail: what is there, and what was expected.
        expected: the layout of the whole, in one line.
    """
    error = AnnotationError(
        f'{where}: {detail}.\nExpected {expected}.\nWhat to do: correct or remove it; {SEE_CHECK}.'
    )
    error.kind, error.where, error.detail = kind, where, detail
    return error


def attempt(report: Report, instead: Any, read: Callable[..., Any], *args: Any) -> Any:
    """Read one part; hand its fault to ``report``, and go on with a substitute if that returns."""
    try:
        return read(*args)
    except AnnotationError as error:
        report(error)
        return instead


def check_name(name: object, where: str, expected: str) -> str:
    """The name of a file, if a file system can hold it.

    Raises:
        AnnotationError: it is no text, is empty, or has characters that no file name has.
    """
    if isinstance(name, str) and is_text(name) and name and '\0' not in name:
        return name
    raise fault('bad file name', where, f'expected a file name, got {shown(name)}', expected)


def shown_name(name: str) -> str:
    """A name as it is where it can be printed in a line, otherwise quoted and escaped."""
    return name if name.isprintable() and len(name) <= 100 else shown(name)


def merge_boxes(pairs: np.ndarray, labels: np.ndarray, verbs: np.ndarray) -> dict[str, np.ndarray]:
    """Turn one pair of boxes per interaction into a box list and indices into it.

    Boxes of one class that are exactly equal become one; boxes keep the order in which they first
    occur, subject before object.

    Args:
        pairs: (M, 2, 4) float32 subject and object box of each interaction.
        labels: (M,) int64 object classes, zero-based COCO-80; subjects are persons (0).
        verbs: (M,) int64 verbs.

    Returns:
        ``boxes`` (N, 4) float32, ``labels`` (N,) int64, ``hois`` (M, 3) int64.
    """
    classes = np.stack((np.zeros_like(labels), labels), axis=1).reshape(-1)
    rows = np.column_stack((pairs.reshape(-1, 4), classes))
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    indices = place[inverse.reshape(-1)].reshape(-1, 2)
    return {
        'boxes': pairs.reshape(-1, 4)[first[order]],
        'labels': classes[first[order]],
        'hois': np.column_stack((indices, verbs)).astype(np.int64).reshape(-1, 3),
    }
