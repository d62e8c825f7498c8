"""Finding places for labels so that none covers another.

Letters in shapes: N labels, S wished places of a label, A regions to keep clear, C candidates.
"""

from collections.abc import Sequence

import numpy as np

# A label that covers a region to keep clear entirely may as well be this many heights away.
COVER_COST = 4.0


def place_labels(
    sizes: Sequence[tuple[int, int]],
    wishes: Sequence[np.ndarray],
    canvas: tuple[int, int],
    avoid: np.ndarray,
    gap: float = 2.0,
) -> np.ndarray:
    """Place labels one after the other, each at the best place that is still free.

    The best place is the one nearest to a wished one; covering a region to keep clear counts as
    distance. Places are looked for at the wished ones and on a grid over the canvas.

    Args:
        sizes: N pairs of width and height in pixels.
        wishes: N arrays (S, 2) of wished top-left corners, best first, at least one each.
        canvas: width and height of the image in pixels.
        avoid: (A, 4) xyxy regions that labels should rather not cover.
        gap: least distance between two labels in pixels.

    Returns:
        (N, 4) float64 xyxy, inside the canvas and at least ``gap`` apart from each other; a row of
        NaN for a label that found no free place.
    """
    placed = np.full((len(sizes), 4), np.nan)
    for i, ((width, height), wish) in enumerate(zip(sizes, wishes, strict=True)):
        room = np.array([canvas[0] - width, canvas[1] - height], dtype=np.float64)
        if (room < 0).any():
            continue
        wish = np.clip(np.asarray(wish, dtype=np.float64), 0, room)
        corners = np.concatenate((wish, _grid(room, step=max(2.0, height / 2))))
        rects = np.concatenate((corners, corners + (width, height)), axis=1)
        taken = placed[:i][~np.isnan(placed[:i, 0])] + (-gap, -gap, gap, gap)
        free = ~(_covered(rects, taken) > 0).any(axis=1)
        if not free.any():
            continue
        away = np.linalg.norm(corners[:, None] - wish, axis=2) / height
        # The order of the wishes decides between places that are equal otherwise.
        away = (away + 0.25 * np.arange(len(wish))).min(axis=1)
        cover = _covered(rects, avoid).sum(axis=1) / (width * height)
        placed[i] = rects[np.where(free, away + COVER_COST * cover, np.inf).argmin()]
    return placed


def _grid(room: np.ndarray, step: float) -> np.ndarray:
    """Corners (C, 2) every ``step`` pixels, the far ends included."""
    xs, ys = (np.linspace(0, end, 1 + int(np.ceil(end / step))) for end in room)
    return np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)


def _covered(rects: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Areas (C, A) that rectangles (C, 4) and regions (A, 4), both xyxy, have in common."""
    low = np.maximum(rects[:, None, :2], regions[:, :2])
    high = np.minimum(rects[:, None, 2:], regions[:, 2:])
    return (high - low).clip(0).prod(axis=2)
