"""What more than one annotation reader needs."""

import numpy as np


class AnnotationError(ValueError):
    """An annotation file does not hold what its form promises; the message says where."""


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
