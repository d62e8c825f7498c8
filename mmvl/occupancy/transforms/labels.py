"""Occupancy labels, and the mirroring of the key ego frame.

Source: BEVDet and ALOcc, released code, whose permutations of the label axes amount to none: all
arrays stay in the order X, Y, Z of the files.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmvl.occupancy.datasets.labels import read_labels, read_ray_mask
from mmvl.occupancy.structures import IGNORED_VOXEL
from mmvl.registry import TRANSFORMS

Results = dict[str, Any]

SUPERVISED = {'camera': 'gt_mask_camera', 'lidar': 'gt_mask_lidar', 'rays': 'ray_mask'}
GRIDS = ('gt_', 'ray_mask')
"""How the names of fields begin that are in the order X, Y, Z."""


@TRANSFORMS.register_module()
class LoadOccupancy(BaseTransform):
    """Read the labels.

    Adds ``gt_semantics`` (X, Y, Z) int64, the masks (X, Y, Z) bool and ``gt_flow`` (X, Y, Z, 2)
    float32 m/s that the files have, and ``ray_mask`` where the dataset knows a file of it.

    Args:
        supervise: voxels that keep their class, all others become 255: 'camera', those that the
            cameras see; 'lidar'; 'rays', those of ``ray_mask``; None, all. For training only.
        extra_masks: further masks in the files, ``gt_<name>``.

    Raises:
        ValueError: unknown ``supervise``.
    """

    def __init__(self, supervise: str | None = None, extra_masks: Sequence[str] = ()) -> None:
        if supervise is not None and supervise not in SUPERVISED:
            known = ', '.join(SUPERVISED)
            raise ValueError(f'supervise is one of {known} or None, got {supervise!r}')
        self.supervise, self.extra_masks = supervise, tuple(extra_masks)

    def transform(self, results: Results) -> Results:
        """Read.

        Raises:
            AnnotationError: a file is missing or damaged, or has another grid.
            KeyError: the labels have no mask as ``supervise`` asks for.
        """
        grid = results['grid']
        labels = read_labels(results['occ_path'], results['labels'], grid, self.extra_masks)
        if results['ray_mask_path']:
            labels['ray_mask'] = read_ray_mask(results['ray_mask_path'], grid)
        if self.supervise is not None:
            mask = labels.get(SUPERVISED[self.supervise])
            if mask is None:
                raise KeyError(
                    f'{results["occ_path"]}: labels of kind {results["labels"]!r} have no mask for '
                    f'supervise={self.supervise!r}. What to do: set supervise=None, or, for rays, '
                    'ray_mask_root of the dataset.'
                )
            labels['gt_semantics'][~mask] = IGNORED_VOXEL
        results.update({name: torch.from_numpy(array) for name, array in labels.items()})
        return results


@TRANSFORMS.register_module()
class RandomFlipBEV(BaseTransform):
    """Mirror the key ego frame, labels and flow with it.

    Adds ``bev_rotation`` (3, 3) float32, which the model applies to points of the key ego frame.
    The grid of the labels must be symmetric about the ego vehicle. Must come behind
    :class:`LoadOccupancy`.

    Args:
        prob_x: of mirroring front and back.
        prob_y: of mirroring left and right.
    """

    def __init__(self, prob_x: float = 0.5, prob_y: float = 0.5) -> None:
        self.probs = (prob_x, prob_y)

    def transform(self, results: Results) -> Results:
        """Draw and mirror."""
        drawn = results['rng'].random(2)
        axes = [axis for axis in range(2) if drawn[axis] < self.probs[axis]]
        results['bev_rotation'] = flip_bev(results, axes)
        return results


def flip_bev(results: Results, axes: Sequence[int]) -> torch.Tensor:
    """Mirror all grids in place along some of the axes x = 0 and y = 1.

    Returns:
        (3, 3) float32, the matrix that mirrors points.
    """
    sign = torch.ones(3)
    sign[list(axes)] = -1
    for name in [name for name in results if name.startswith(GRIDS)]:
        if isinstance(results[name], torch.Tensor):
            results[name] = results[name].flip(tuple(axes)) if axes else results[name]
    if 'gt_flow' in results:
        results['gt_flow'] = results['gt_flow'] * sign[:2]
    return torch.diag(sign)


def identity_bev() -> torch.Tensor:
    """The matrix (3, 3) float32 of a frame that is not mirrored."""
    return torch.from_numpy(np.eye(3, dtype=np.float32))
