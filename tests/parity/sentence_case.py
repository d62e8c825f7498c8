"""Answers to sentences for the golden values of A2D and JHMDB, drawn from a seed."""

from typing import NamedTuple

import numpy as np

NUM_SETS, SENTENCES, QUERIES = 4, 40, 5


class Case(NamedTuple):
    """One sentence: its image, the truth (H, W), masks (Q, H, W) bool and scores (Q,) float32."""

    image_id: str
    truth: np.ndarray
    masks: np.ndarray
    scores: np.ndarray


def sentence_cases(seed: int) -> list[Case]:
    """Rectangles of all three sizes of COCO, some scores tied, some overlaps at a threshold."""
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(SENTENCES):
        height, width = rng.integers(40, 220, 2).tolist()
        top, left = rng.integers(0, height // 3), rng.integers(0, width // 3)
        rows, columns = (int(rng.integers(10, 2 * side // 3)) for side in (height, width))
        truth = np.zeros((height, width), bool)
        truth[top : top + rows, left : left + columns] = True
        masks = np.stack([np.roll(truth, rng.integers(-9, 10, 2), (0, 1)) for _ in range(QUERIES)])
        scores = rng.random(QUERIES).astype(np.float32)
        if number % 4 == 0:
            scores = scores.round(1)
        if number % 5 == 0:
            # ten rows of the truth, of which the best one has 5 to 9
            best = int(scores.argmax())
            truth[:] = masks[best] = False
            truth[:10, :columns] = masks[best, : rng.integers(5, 10), :columns] = True
        if number % 9 == 0:
            masks[rng.integers(QUERIES)] = False
        cases.append(Case(f'v_{seed}_f_{number}', truth, masks, scores))
    return cases
