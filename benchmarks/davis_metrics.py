"""Time of J and F: the released evaluation of DAVIS against ``mmvl.video.jf``.

    python benchmarks/davis_metrics.py --official PATH_TO_DAVIS2017_EVALUATION
        [--sequences 34] [--frames 20] [--task semi-supervised]

Drawn sequences of 480x854 pixels with three objects each, as many objects as DAVIS 2017 has or
more. Inside the timer: from label maps to the J and F of every object and frame. Both get the same
maps one after the other, sequence by sequence; equality is checked before a time is printed. The
released code needs scikit-image.
"""

import argparse
import statistics
import sys
import time

import cv2
import numpy as np

from mmvl.video.jf import assign, frame_scores

OBJECTS = 3
HEIGHT, WIDTH = 480, 854


def draw(frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Label maps (T, H, W) of moving ellipses, predicted and true."""
    pred, truth = np.zeros((2, frames, HEIGHT, WIDTH), np.uint8)
    for number in range(1, OBJECTS + 1):
        start, speed = rng.uniform((100, 80), (750, 400)), rng.uniform(-4, 4, 2)
        axes, tilt = rng.integers(20, 110, 2).tolist(), float(rng.uniform(0, 180))
        for t in range(frames):
            for maps, centre in ((truth, start + t * speed), (pred, start + t * speed + 3)):
                at = (int(centre[0]), int(centre[1]))
                cv2.ellipse(maps[t], at, axes, tilt, 0, 360, number, -1)
    return pred, truth


def ours(pred: np.ndarray, truth: np.ndarray, crossed: bool) -> np.ndarray:
    """J and F, (2, objects, frames)."""
    pairs = zip(pred, truth, strict=True)
    scores = np.array([frame_scores(p, t, OBJECTS, OBJECTS, None, crossed) for p, t in pairs])
    region, contour = np.moveaxis(scores, 0, -1)
    return np.array(assign(region, contour) if crossed else (region, contour))


def official(pred: np.ndarray, truth: np.ndarray, crossed: bool) -> np.ndarray:
    """The same from the released code."""
    from davis2017.evaluation import DAVISEvaluation  # type: ignore[import-not-found]

    numbers = np.arange(1, OBJECTS + 1)[:, None, None, None]
    masks = [maps[None] == numbers for maps in (truth, pred)]
    if crossed:
        return np.array(DAVISEvaluation._evaluate_unsupervised(*masks, None, ('J', 'F')))
    return np.array(DAVISEvaluation._evaluate_semisupervised(*masks, None, ('J', 'F')))


def main() -> None:
    """Compare, and print the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--official', required=True)
    parser.add_argument('--sequences', type=int, default=34)
    parser.add_argument('--frames', type=int, default=20)
    parser.add_argument(
        '--task', choices=['semi-supervised', 'unsupervised'], default='semi-supervised'
    )
    args = parser.parse_args()
    sys.path.insert(0, args.official)
    cv2.setNumThreads(1)
    rng, crossed = np.random.default_rng(0), args.task == 'unsupervised'
    seconds: dict[str, list[float]] = {'official': [], 'ours': []}
    for number in range(args.sequences):
        pred, truth = draw(args.frames, rng)
        results = {}
        # who begins alternates
        for function in (official, ours) if number % 2 else (ours, official):
            start = time.perf_counter()
            results[function.__name__] = function(pred, truth, crossed)
            seconds[function.__name__].append(time.perf_counter() - start)
        assert np.allclose(results['ours'], results['official'], atol=1e-12)
    ratios = [a / b for a, b in zip(seconds['official'], seconds['ours'], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    totals = {name: sum(values) for name, values in seconds.items()}
    sys.stdout.write(
        f'{args.task}, {args.sequences * OBJECTS} objects, {args.frames} frames each: official '
        f'{totals["official"]:.2f} s, ours {totals["ours"]:.2f} s; ratio of a sequence, median '
        f'{middle:.1f} (quartiles {low:.1f} to {high:.1f})\n'
    )


if __name__ == '__main__':
    main()
