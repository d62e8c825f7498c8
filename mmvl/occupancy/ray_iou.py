"""RayIoU and flow errors: a prediction is compared with the labels where LiDAR-like rays hit it.

Letters in shapes: X Y Z voxels, O origins, D directions, R = O x D rays, K classes of which the
last is free space, T distance thresholds. Frames: key ego frame, x forward, y left, z up, metres.

Source: RayIoU of SparseOcc (Liu et al., ECCV 2024) and the flow errors of OpenOcc and ALOcc, in
their released code, whose single precision is kept: it decides which voxel some rays hit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmvl.ops import voxel_ray_cast

THRESHOLDS = (1.0, 2.0, 4.0)
"""Metres by which the distance of a true positive may be off; less, not equal."""

FLOW_THRESHOLD = 1
"""Which of them decides about true positives for the error of flow: 2 m."""

LOWER = (-40.0, -40.0, -1.0)
VOXEL_SIZE = 0.4


class RayHits(NamedTuple):
    """Where R rays end.

    Attributes:
        label: (R,) int64.
        distance: (R,) float32 metres.
        voxel: (R, 3) int64.
        flow: (R, 2) m/s, or None.
    """

    label: np.ndarray
    distance: np.ndarray
    voxel: np.ndarray
    flow: np.ndarray | None = None


@dataclass
class RayCounts:
    """What is summed up over samples; arrays of K classes.

    Attributes:
        truth: (K,) int64, rays that hit a class in the labels.
        predicted: (K,) int64, rays that hit it in the prediction.
        matched: (T, K) int64, rays with the right class and distance.
        error_matched: (K,) float64 m/s, sum of the errors of flow of the rays matched at 2 m.
        error_all: (K,) and ``count_all`` (K,) int64, the same over all rays, for each class that
            is matched in a sample, as a published server of submissions does.
        error_truth: (K,) float64, sum over the rays that hit the class in the labels.
        error_voxels: (K,) float64, and ``count_voxels`` (K,) int64, over labelled voxels.
    """

    truth: np.ndarray
    predicted: np.ndarray
    matched: np.ndarray
    error_matched: np.ndarray
    error_all: np.ndarray
    count_all: np.ndarray
    error_truth: np.ndarray
    error_voxels: np.ndarray
    count_voxels: np.ndarray

    @classmethod
    def zeros(cls, num_classes: int) -> 'RayCounts':
        """Counts of no sample."""
        counts, sums = np.zeros(num_classes, np.int64), np.zeros(num_classes)
        return cls(
            truth=counts,
            predicted=counts,
            matched=np.zeros((len(THRESHOLDS), num_classes), np.int64),
            error_matched=sums,
            error_all=sums,
            count_all=counts,
            error_truth=sums,
            error_voxels=sums,
            count_voxels=counts,
        )

    def __add__(self, other: 'RayCounts') -> 'RayCounts':
        pairs = zip(vars(self).items(), vars(other).values(), strict=True)
        return RayCounts(**{name: ours + theirs for (name, ours), theirs in pairs})


@cache
def ray_directions() -> np.ndarray:
    """Directions of the rays from each origin, (14040, 3) float32 of unit length.

    39 pitches, the lowest 45 degrees downwards, times 360 azimuths. The published pitches are those
    that meet the ground after 1, 2, ... 10 heights, continued in the last step up to 0.219 rad.
    """
    pitches = [math.atan(k) - math.pi / 2 for k in range(1, 11)]
    while pitches[-1] < 0.21:
        pitches.append(pitches[-1] + (pitches[-1] - pitches[-2]))
    azimuth = np.deg2rad(np.arange(360))
    pitch = np.array(pitches)[:, None]
    flat = np.cos(pitch)
    parts = (flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(pitch) + 0 * azimuth)
    return np.stack(parts, -1).reshape(-1, 3).astype(np.float32)


def cast_rays(
    semantics: np.ndarray,
    origins: np.ndarray,
    flow: np.ndarray | None = None,
    *,
    num_classes: int,
    lower: Sequence[float] = LOWER,
    voxel_size: float = VOXEL_SIZE,
) -> RayHits:
    """Follow every ray of every origin to the first voxel that is not free.

    The distance is that of the far side of this voxel. A ray that hits nothing ends in the last
    voxel of the grid; one that never enters the grid has distance -0.4 and the label of voxel 0.

    Args:
        semantics: (X, Y, Z) integers; K - 1 is free space, everything else stops a ray.
        origins: (O, 3) metres.
        flow: (X, Y, Z, 2) m/s, which is looked up where the rays end.
        num_classes: K.
        lower: corner of the grid, metres.
        voxel_size: metres.

    Returns:
        Origins one after the other, R = 14040 O.
    """
    start, end = _ray_ends(origins, lower, voxel_size)
    labels = torch.from_numpy(np.ascontiguousarray(semantics))
    occupied = (labels != num_classes - 1).permute(2, 1, 0)[None].contiguous()
    grid = torch.zeros(len(start), dtype=torch.int64)
    distance, voxel, _ = voxel_ray_cast(occupied, start, end, grid)
    x, y, z = voxel.numpy().T
    return RayHits(
        label=semantics[x, y, z].astype(np.int64),
        distance=(distance.float() * voxel_size).numpy(),
        voxel=voxel.numpy(),
        flow=None if flow is None else flow[x, y, z],
    )


def _ray_ends(
    origins: np.ndarray, lower: Sequence[float], voxel_size: float
) -> tuple[Tensor, Tensor]:
    """Start and end of the rays in voxels, rounded to single precision as in the released code."""
    start = torch.from_numpy(np.asarray(origins))[:, None]
    ways = torch.from_numpy(ray_directions())
    offset, size = torch.tensor(lower), torch.tensor(voxel_size)
    begins, ends = ((each - offset) / size.to(each.dtype) for each in (start, start + ways))
    return begins.float().expand_as(ends).reshape(-1, 3), ends.float().reshape(-1, 3)


def count_rays(
    prediction: RayHits,
    truth: RayHits,
    num_classes: int,
    movable: Sequence[int] = (),
    mask: np.ndarray | None = None,
) -> RayCounts:
    """Count one sample; rays that hit nothing in the labels are left out.

    Args:
        prediction: R rays through the prediction.
        truth: the same rays through the labels.
        num_classes: K.
        movable: classes whose flow counts, where both sides have flow.
        mask: (X, Y, Z) bool; rays that end elsewhere in the labels are left out too.
    """
    counts = RayCounts.zeros(num_classes)
    kept = truth.label != num_classes - 1
    if mask is not None:
        kept &= mask[tuple(truth.voxel.T)]
    wanted, found = truth.label[kept], prediction.label[kept]
    error = np.abs(prediction.distance[kept] - truth.distance[kept])
    right = wanted == found
    counts.truth, counts.predicted = (_count(each, num_classes) for each in (wanted, found))
    matches = [right & (error < threshold) for threshold in THRESHOLDS]
    counts.matched = np.stack([_count(wanted[match], num_classes) for match in matches])
    if prediction.flow is None or truth.flow is None:
        return counts
    apart = np.linalg.norm(truth.flow[kept] - prediction.flow[kept], axis=1)
    match = matches[FLOW_THRESHOLD]
    moves = np.isin(np.arange(num_classes), movable)
    counts.error_matched = _count(wanted[match], num_classes, apart[match]) * moves
    counts.error_truth = _count(wanted, num_classes, apart) * moves
    present = (counts.matched[FLOW_THRESHOLD] > 0) & moves
    counts.error_all = present * float(apart.sum(dtype=np.float64))
    counts.count_all = present.astype(np.int64) * len(apart)
    return counts


def voxel_flow_errors(
    flow: np.ndarray,
    truth: np.ndarray,
    semantics: np.ndarray,
    num_classes: int,
    movable: Sequence[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the errors of flow of all labelled voxels of a class, and their number, both (K,).

    Args:
        flow: (X, Y, Z, 2) predicted, m/s.
        truth: (X, Y, Z, 2), m/s.
        semantics: (X, Y, Z) labels.
        num_classes: K.
        movable: classes that count; the others get 0.
    """
    kept = np.isin(semantics, movable)
    apart = np.linalg.norm(truth[kept] - flow[kept], axis=1)
    labels = semantics[kept].astype(np.int64)
    return _count(labels, num_classes, apart), _count(labels, num_classes)


def _count(labels: np.ndarray, num_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Sum of ones or weights for each class; labels beyond the last class, such as 255, drop out.

    Weights are summed in double precision.
    """
    known = labels < num_classes
    weights = None if weights is None else weights[known]
    return np.bincount(labels[known], weights, num_classes)


def summarise(counts: RayCounts, movable: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Measures of each class but free space; NaN for what never occurred.

    Returns:
        ``iou`` (T, K - 1) in 0-1, and, all (K - 1,) in m/s and NaN for classes that do not move:
        ``ave_matched``, ``ave_all``, ``ave_truth``, ``ave_voxels``, see :class:`RayCounts`.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        iou = counts.matched / (counts.truth + counts.predicted - counts.matched)
        errors = {
            'ave_matched': counts.error_matched / counts.matched[FLOW_THRESHOLD],
            'ave_all': counts.error_all / counts.count_all,
            'ave_truth': counts.error_truth / counts.truth,
            'ave_voxels': counts.error_voxels / counts.count_voxels,
        }
    moves = np.isin(np.arange(len(counts.truth)), movable)
    parts = {name: np.where(moves, error, np.nan)[:-1] for name, error in errors.items()}
    return {'iou': iou[:, :-1], **parts}
