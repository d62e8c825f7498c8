"""Masks as plain arrays: decoding of annotations, and overlaps.

Letters in shapes: H, W height and width in pixels; ``...`` any leading dimensions.
"""

import reprlib
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from torch import Tensor

SLACK = 2.0
"""Pixels that a polygon may stick out of its image; annotators round."""


class MaskError(ValueError):
    """A segmentation is damaged, or does not fit its image."""


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Turn a segmentation of a COCO-style annotation into a mask.

    Args:
        segmentation: polygons, each a flat list ``[x1, y1, x2, y2, ...]`` of continuous pixels; or
            a run-length code ``{'size': [H, W], 'counts': ...}``, a list of counts or COCO's
            compressed text; or a list of such codes, as in ReferItGame.
        height: H of the image.
        width: W of the image.

    Returns:
        (H, W) bool, the union of all parts.

    Raises:
        MaskError: the segmentation has none of these forms, or does not fit the image: a code of
            another size, or a polygon that leaves the image by more than :data:`SLACK`.

    Source: Microsoft COCO, mask API.
    """
    parts = [segmentation] if isinstance(segmentation, dict) else segmentation
    if not isinstance(parts, list) or not parts:
        raise _refusal('expected polygons or run-length codes', segmentation)
    if all(isinstance(part, dict) for part in parts):
        return np.logical_or.reduce([_decode_runs(part, height, width) for part in parts])
    polygons = [_polygon(part, height, width) for part in parts]
    codes = coco.frPyObjects(polygons, height, width)
    return coco.decode(coco.merge(codes)).astype(bool)


def _polygon(points: Any, height: int, width: int) -> list[float]:
    try:
        flat = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        flat = np.zeros(0)
    # pycocotools takes four numbers for a box
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not np.isfinite(flat).all():
        raise _refusal('a polygon needs x and y of at least three points', points)
    corners = flat.reshape(-1, 2)
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (low < -SLACK).any() or (high > np.array([width, height]) + SLACK).any():
        span = f'x {low[0]:g} to {high[0]:g}, y {low[1]:g} to {high[1]:g}'
        raise _refusal(f'a polygon ({span}) leaves the image, {height} high and {width} wide')
    return flat.tolist()


def _decode_runs(code: dict[str, Any], height: int, width: int) -> np.ndarray:
    size, counts = code.get('size'), code.get('counts')
    try:
        shape = tuple(int(edge) for edge in size)  # type: ignore[union-attr]
    except (TypeError, ValueError, OverflowError):
        raise _refusal('a run-length code needs its size, [height, width]', size) from None
    if shape != (height, width):
        raise _refusal(f'the mask is {shape} (height, width), the image ({height}, {width})')
    if isinstance(counts, str | bytes):
        counts = _uncompress(counts)
    try:
        runs = np.asarray(counts)
    except (ValueError, OverflowError):
        runs = np.zeros(0)
    # pycocotools leaves unset memory where the runs end too early
    if runs.ndim != 1 or runs.dtype.kind not in 'iu' or (runs < 0).any():
        raise _refusal('a run-length code needs counts of at least 0', counts)
    # a sum of Python's integers cannot overflow
    if sum(runs.tolist()) != height * width:
        raise _refusal(f'the runs have {sum(runs.tolist())} pixels, the image {height * width}')
    columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(columns.reshape(width, height).T)


def _uncompress(text: str | bytes) -> list[int]:
    """Counts of COCO's compressed text.

    A character holds five bits, lowest first, and whether more follow; the sign is the highest bit
    of the last. From the fourth count on it is the difference to the count two before.
    """
    counts: list[int] = []
    value = bits = 0
    for symbol in text.encode(errors='replace') if isinstance(text, str) else text:
        chunk = symbol - 48
        if not 0 <= chunk < 64 or bits > 60:
            raise _refusal('damaged compressed run-length code', text)
        value |= (chunk & 31) << bits
        bits += 5
        if not chunk & 32:
            if chunk & 16:
                value -= 1 << bits
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    if bits:
        raise _refusal('a compressed run-length code is cut off', text)
    return counts


def _refusal(reason: str, value: Any = None) -> MaskError:
    got = '' if value is None else f', got {reprlib.repr(value)}'
    return MaskError(
        f'{reason}{got}.\nWhat to do: correct the segmentation, or fetch image and annotation anew.'
    )


def mask_overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels that two masks have in common, and pixels of either.

    Args:
        first: (..., H, W) bool.
        second: (..., H, W) bool.

    Returns:
        Intersection and union, each (...,) int64.

    Raises:
        ValueError: the masks differ in height or width, which must not be broadcast.
    """
    if first.shape[-2:] != second.shape[-2:]:
        raise ValueError(
            f'masks of different size: {tuple(first.shape)} and {tuple(second.shape)}.\n'
            'What to do: bring the prediction to the size of the annotation.'
        )
    intersection = torch.count_nonzero(first & second, dim=(-2, -1))
    return intersection, torch.count_nonzero(first | second, dim=(-2, -1))
