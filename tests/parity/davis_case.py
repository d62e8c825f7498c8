"""Masks for the golden values of J and F, made of ellipses that grow from a seed."""

import numpy as np

NUM_PAIRS = 200


def mask_pair(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Prediction, truth and void pixels (or None), (H, W) bool.

    Some are empty, full, at the border, shifted copies, or of a single pixel.
    """
    rng = np.random.default_rng(seed)
    # up to a tolerance of 3 pixels, and of 14
    height, width = rng.integers(6, 1200 if seed % 9 == 4 else 200, 2)
    truth = _blobs(height, width, rng)
    kind = seed % 5
    if kind == 0:
        pred = _blobs(height, width, rng)
    elif kind == 1:
        pred = np.roll(truth, rng.integers(-4, 5, 2), (0, 1))
    elif kind == 2:
        pred = truth ^ (rng.random(truth.shape) < 0.01)
    elif kind == 3:
        pred = np.zeros_like(truth)
        pred[rng.integers(height), rng.integers(width)] = True
    else:
        pred = truth.copy() if rng.random() < 0.3 else np.full_like(truth, rng.random() < 0.5)
    void = _blobs(height, width, rng) if rng.random() < 0.4 else None
    return pred, truth, void


def object_values(seed: int, frames: int) -> np.ndarray:
    """A measure over the frames of an object, (T,) float64."""
    return np.random.default_rng(seed).random(frames)


def _blobs(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        ry, rx = rng.uniform(1, height / 2), rng.uniform(1, width / 2)
        mask |= ((rows - y) / ry) ** 2 + ((columns - x) / rx) ** 2 <= 1
    return mask
