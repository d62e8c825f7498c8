"""Masks for the golden values of J and F, made of ellipses that grow from a seed."""

from pathlib import Path

import numpy as np
from PIL import Image

NUM_PAIRS = 200
TASKS = {'semi-supervised': 'Annotations', 'unsupervised': 'Annotations_unsupervised'}
# name -> numbers that the prediction gives to objects 1, 2 and 3 (0: it has none), frames
SEQUENCES = {
    'same': ((1, 2, 3), 9),
    'exchanged': ((2, 3, 1), 6),
    'fewer': ((1, 0, 0), 5),
    'none': ((0, 0, 0), 5),
    'more': ((1, 2, 7), 6),
    'long': ((1, 2, 3), 258),
}


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


def write_sequences(root: Path) -> dict[str, list[str]]:
    """Write a small DAVIS and predictions, into ``root/results``.

    Objects hide one another and leave the frame, and one that the first frame lacks comes later;
    the unsupervised annotation has void pixels.

    Returns:
        Task -> sequences that the released code does not refuse.
    """
    for seed, (name, (numbers, frames)) in enumerate(SEQUENCES.items()):
        rng = np.random.default_rng(seed)
        height, width = (int(side) for side in rng.integers(50, 90, 2))
        rows, columns = np.mgrid[:height, :width]
        start, speed = rng.uniform(15, 45, (4, 2)), rng.uniform(-2.5, 2.5, (4, 2))
        for t in range(frames):
            truth, pred = np.zeros((2, height, width), np.uint8)
            for number, at in enumerate(start + (t % 40) * speed, 1):
                if number == 4 and t < 2:
                    continue
                for labels, y, x, label in (
                    (truth, *at, number),
                    (pred, *(at + rng.uniform(-3, 3, 2)), (*numbers, 0)[number - 1]),
                ):
                    labels[(rows - y) ** 2 + (columns - x) ** 2 <= 100] = label
            if t == 0:
                truth[-1, :3] = 1, 2, 3  # every object is in the first frame
            void = truth.copy()
            void[:6, : width // 2] = 255
            for folder, labels in (
                (f'{TASKS["semi-supervised"]}/480p', truth),
                (f'{TASKS["unsupervised"]}/480p', void),
                ('results', pred),
            ):
                path = root / folder / name / f'{t:05d}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(labels).save(path)
    fitting = [name for name in SEQUENCES if name != 'more']
    return {'semi-supervised': fitting, 'unsupervised': list(SEQUENCES)}


def _blobs(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        ry, rx = rng.uniform(1, height / 2), rng.uniform(1, width / 2)
        mask |= ((rows - y) / ry) ** 2 + ((columns - x) / rx) ** 2 <= 1
    return mask
