"""Region similarity J and contour accuracy F of DAVIS, for all objects of a frame together.

Letters in shapes: H, W of a frame, P predicted objects, G annotated ones, T frames.

Source: Perazzi et al., CVPR 2016; Pont-Tuset et al., arXiv 1704.00675; Caelles et al., arXiv
1905.00737 (unsupervised); values are those of the released evaluation.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Final, NamedTuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

TOLERANCE: Final = 0.008
"""Distance at which contours still match, as a share of the frame's diagonal."""
RECALLED: Final = 0.5
QUARTERS: Final = 4


class Statistics(NamedTuple):
    """What the benchmark reports of a measure over the frames of one object.

    Attributes:
        mean: over frames.
        recall: share of frames above 0.5.
        decay: mean of the first quarter less that of the last; NaN where the released code gives
            NaN, see :func:`statistics`.
    """

    mean: float
    recall: float
    decay: float


class _Outline(NamedTuple):
    """An object within its surroundings.

    Attributes:
        top: row of the surroundings in the frame.
        left: column likewise.
        mask: (h, w) bool of the surroundings.
        contour: (h, w) bool, its contour.
        near: (h, w) bool, what lies within the tolerance of the contour.
        area: pixels of ``mask``.
        length: pixels of ``contour``.
    """

    top: int
    left: int
    mask: np.ndarray
    contour: np.ndarray
    near: np.ndarray
    area: int
    length: int


def frame_scores(
    pred: np.ndarray,
    truth: np.ndarray,
    num_pred: int,
    num_truth: int,
    void: np.ndarray | None = None,
    crossed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute J and F of the objects of one frame.

    Args:
        pred: (H, W) integers, 0 the background and 1 to P the objects, P at most 255.
        truth: (H, W) integers, 0 the background and 1 to G the objects.
        num_pred: P.
        num_truth: G.
        void: (H, W) bool, pixels that do not count.
        crossed: compare every predicted object with every annotated one, not only those of the
            same number; ``num_pred`` and ``num_truth`` must be equal otherwise.

    Returns:
        J and F, (P, G) float64 if ``crossed``, else (G,). An object that is in neither has 1.

    Raises:
        ValueError: the shapes differ, or the numbers do where only equal ones are compared.
    """
    if pred.shape != truth.shape or (void is not None and void.shape != truth.shape):
        raise ValueError(f'prediction {pred.shape} and truth {truth.shape} must have one size')
    if not crossed and num_pred != num_truth:
        raise ValueError(f'{num_pred} predicted and {num_truth} annotated objects')
    pred, truth = (each.astype(np.uint8, copy=False) for each in (pred, truth))
    if void is not None:
        pred, truth = np.where(void, 0, pred), np.where(void, 0, truth)
    ours, theirs = _outlines(pred, num_pred), _outlines(truth, num_truth)
    pairs = [(i, j) for j in range(num_truth) for i in (range(num_pred) if crossed else (j,))]
    region, contour = np.zeros((2, num_pred, num_truth))
    for i, j in pairs:
        region[i, j], contour[i, j] = _compare(ours[i], theirs[j])
    if crossed:
        return region, contour
    return region.diagonal().copy(), contour.diagonal().copy()


def contour_map(mask: np.ndarray) -> np.ndarray:
    """Mark the pixels that differ from their right, lower or lower right neighbour.

    In the last column only the lower neighbour counts, in the last row only the right one, and the
    last pixel of all is never marked.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    marked = np.zeros_like(mask)
    inner = mask[:-1, :-1]
    marked[:-1, :-1] = inner ^ mask[:-1, 1:] | inner ^ mask[1:, :-1] | inner ^ mask[1:, 1:]
    marked[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    marked[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return marked


def _outlines(labels: np.ndarray, count: int) -> list[_Outline | None]:
    """Describe the objects 1 to ``count``; None for one that is not there."""
    radius = math.ceil(TOLERANCE * math.hypot(*labels.shape))
    found: list[_Outline | None] = []
    for number in range(1, count + 1):
        mask = labels == number
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        if not width:
            found.append(None)
            continue
        # A contour lies half a pixel towards the origin, so it may begin one pixel earlier; beyond
        # that the frame is empty, and cutting it off changes nothing.
        top, left = max(y - radius - 1, 0), max(x - radius - 1, 0)
        crop = mask[top : y + height + radius + 1, left : x + width + radius + 1]
        contour = contour_map(crop)
        sizes = int(np.count_nonzero(crop)), int(np.count_nonzero(contour))
        found.append(_Outline(top, left, crop, contour, _surroundings(contour, radius), *sizes))
    return found


def _surroundings(contour: np.ndarray, radius: int) -> np.ndarray:
    """Mark what lies within ``radius`` pixels of a (h, w) bool contour, as (h, w) bool.

    A disk is a stack of runs: pixels are spread along their rows, to the shortest runs first, and
    the spread rows laid over each other. These are few passes over flat memory, where a general
    dilation looks at every pixel of the disk.
    """
    height, width = contour.shape
    # with this margin no run reaches another row
    stride = width + 2 * radius
    spread = np.zeros((height + 2 * radius) * stride + radius, bool)
    rows = spread[radius * stride :][: height * stride].reshape(height, stride)
    rows[:, radius : radius + width] = contour
    near = np.zeros(height * stride, bool)
    length = 1
    for half, places in _disk(radius):
        while length < 2 * half + 1:
            step = min(length, 2 * half + 1 - length)
            spread[step:] |= spread[:-step]
            length += step
        for place in places:
            start = place * stride + half
            near |= spread[start : start + len(near)]
    return near.reshape(height, stride)[:, radius : radius + width]


@cache
def _disk(radius: int) -> list[tuple[int, list[int]]]:
    """Half the lengths of the rows of a disk, ascending, and the rows (from 0) that have each."""
    halves = [math.isqrt(radius**2 - row**2) for row in range(-radius, radius + 1)]
    return [
        (half, [place for place, each in enumerate(halves) if each == half])
        for half in sorted(set(halves))
    ]


def _compare(pred: _Outline | None, truth: _Outline | None) -> tuple[float, float]:
    """J and F of two objects."""
    if pred is None or truth is None:
        # an object that fills the frame has no contour either
        bare = not any(each and each.length for each in (pred, truth))
        return float(pred is truth), float(bare)
    here, there = _windows(pred, truth)
    both = np.count_nonzero(pred.mask[here] & truth.mask[there])
    region = both / (pred.area + truth.area - both)
    if not pred.length or not truth.length:
        return region, float(pred.length == truth.length)
    precision = np.count_nonzero(pred.contour[here] & truth.near[there]) / pred.length
    recall = np.count_nonzero(truth.contour[there] & pred.near[here]) / truth.length
    total = precision + recall
    return region, 2 * precision * recall / total if total else 0.0


def _windows(*outlines: _Outline) -> list[tuple[slice, slice]]:
    """What the surroundings of all have in common, as slices into those of each."""
    top, left = (max(each[axis] for each in outlines) for axis in (0, 1))
    bottom = max(top, min(each.top + each.mask.shape[0] for each in outlines))
    right = max(left, min(each.left + each.mask.shape[1] for each in outlines))
    return [
        (slice(top - each.top, bottom - each.top), slice(left - each.left, right - each.left))
        for each in outlines
    ]


def statistics(values: Sequence[float] | np.ndarray) -> Statistics:
    """Summarise a measure over the frames of an object.

    The released code keeps the borders of the quarters in 8 bits: from 256 frames on they wrap
    round, which spoils the decay (NaN where a quarter becomes empty). Kept, since published numbers
    have it; mean and recall do not depend on it.

    Args:
        values: (T,) in 0-1.
    """
    values = np.asarray(values, dtype=np.float64)
    borders = np.round(np.linspace(1, len(values), QUARTERS + 1) + 1e-10) - 1
    borders = borders.astype(np.int64) % 256
    first, last = (values[borders[i] : (borders[i + 1] + 1) % 256] for i in (0, QUARTERS - 1))
    decay = first.mean() - last.mean() if len(first) and len(last) else float('nan')
    return Statistics(values.mean(), (values > RECALLED).mean(), decay)


def assign(region: np.ndarray, contour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every annotated object the predicted one that suits best, as the unsupervised task does.

    Args:
        region: (P, G, T) J of every pair; P is at least G.
        contour: (P, G, T) F of every pair.

    Returns:
        J and F (G, T) of the pairs with the largest sum of mean (J + F) / 2, in the order of the
        predicted objects.
    """
    quality = (region.mean(2) + contour.mean(2)) / 2
    rows, columns = linear_sum_assignment(quality, maximize=True)
    return region[rows, columns], contour[rows, columns]
