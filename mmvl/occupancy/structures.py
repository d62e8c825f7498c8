"""Data sample of camera-based 3-D semantic occupancy.

Letters in shapes: N cameras, H x W pixels of the network input, X Y Z voxels, O ray origins. Metric
frames are x forward, y left, z up, in metres; poses are 4 x 4 homogeneous matrices in float64.
"""

from typing import Any, ClassVar

import torch
from mmengine.structures import BaseDataElement

IGNORED_VOXEL = 255
"""Semantic label of a voxel that is not supervised."""

Shape = tuple[int | str, ...]


class OccupancySample(BaseDataElement):
    """The cameras of one key frame with its occupancy labels and predictions.

    Calibration: ``intrinsics`` (N, 3, 3), ``image_rotation`` (N, 3, 3) and ``image_translation``
    (N, 3), the augmentation of pixels p' = R p + t, float32; ``sensor2ego`` and ``ego2global``
    (N, 4, 4) float64, each at the time stamp of its camera; ``previous_sensor2ego`` and
    ``previous_ego2global`` (N, 4, 4) float64, the same of the previous key frame;
    ``key_ego2global`` (4, 4) float64, the key ego frame: the ego pose of the front camera;
    ``lidar_ego2global`` (4, 4) float64, the ego pose of the LiDAR, from which the way between key
    frames is told; ``bev_rotation`` (3, 3) float32, the augmentation of the key ego frame.

    Training: ``depth_map`` (N, H, W) float32 metres, 0 without a LiDAR point;
    ``image_semantics`` (N, H / 16, W / 16) int64, class of the nearest LiDAR point of a cell, 255
    without one. The next are in the order of the label files: ``gt_semantics`` (X, Y, Z) int64,
    255 is not supervised; ``gt_mask_camera``, ``gt_mask_lidar`` and ``ray_mask`` (X, Y, Z) bool;
    ``gt_mask_occluded``, which no camera sees now, and ``gt_mask_remembered``, the part of it that
    one saw earlier, likewise; ``gt_flow`` (X, Y, Z, 2) float32 m/s.

    Predictions: ``pred_semantics`` (X, Y, Z) uint8; ``pred_flow`` (X, Y, Z, 2) float32 m/s.

    The metainfo holds ``sample_token``, ``scene_token``, ``scene_name``, ``sample_index``,
    ``starts_sequence`` (the temporal state of this place in the batch is to be dropped),
    ``has_previous`` (a previous key frame exists), ``ray_origins`` (O, 3) float64 and ``occ_path``.
    """

    fields: ClassVar[dict[str, tuple[torch.dtype, Shape]]] = {
        'intrinsics': (torch.float32, ('N', 3, 3)),
        'image_rotation': (torch.float32, ('N', 3, 3)),
        'image_translation': (torch.float32, ('N', 3)),
        'sensor2ego': (torch.float64, ('N', 4, 4)),
        'ego2global': (torch.float64, ('N', 4, 4)),
        'previous_sensor2ego': (torch.float64, ('N', 4, 4)),
        'previous_ego2global': (torch.float64, ('N', 4, 4)),
        'key_ego2global': (torch.float64, (4, 4)),
        'lidar_ego2global': (torch.float64, (4, 4)),
        'bev_rotation': (torch.float32, (3, 3)),
        'depth_map': (torch.float32, ('N', 'H', 'W')),
        'image_semantics': (torch.int64, ('N', 'h', 'w')),
        'gt_semantics': (torch.int64, ('X', 'Y', 'Z')),
        'gt_mask_camera': (torch.bool, ('X', 'Y', 'Z')),
        'gt_mask_lidar': (torch.bool, ('X', 'Y', 'Z')),
        'gt_mask_occluded': (torch.bool, ('X', 'Y', 'Z')),
        'gt_mask_remembered': (torch.bool, ('X', 'Y', 'Z')),
        'ray_mask': (torch.bool, ('X', 'Y', 'Z')),
        'gt_flow': (torch.float32, ('X', 'Y', 'Z', 2)),
        'pred_semantics': (torch.uint8, ('X', 'Y', 'Z')),
        'pred_flow': (torch.float32, ('X', 'Y', 'Z', 2)),
    }

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field.

        Raises:
            TypeError: a listed field is not a tensor of its dtype.
            ValueError: a listed field has another shape, or a size that differs from the same
                letter's size in a field that is set already.
        """
        if name in self.fields:
            dtype, wanted = self.fields[name]
            if not isinstance(value, torch.Tensor) or value.dtype != dtype:
                got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
                raise TypeError(f'OccupancySample.{name} must be a {dtype} tensor, got {got}')
            sizes = self._sizes(leave_out=name)
            fits = value.ndim == len(wanted) and all(
                sizes.get(str(letter), size if isinstance(letter, str) else letter) == size
                for letter, size in zip(wanted, value.shape, strict=True)
            )
            if not fits:
                letters = ', '.join(
                    f'{letter}={sizes[letter]}' if letter in sizes else str(letter)
                    for letter in map(str, wanted)
                )
                raise ValueError(
                    f'OccupancySample.{name} must have shape ({letters}), got {tuple(value.shape)}'
                )
        super().__setattr__(name, value)

    def _sizes(self, leave_out: str) -> dict[str, int]:
        """Sizes of the letters, from the fields that are set, without the field ``leave_out``."""
        sizes: dict[str, int] = {}
        for name, value in self.items():
            if name in self.fields and name != leave_out:
                pairs = zip(self.fields[name][1], value.shape, strict=True)
                sizes.update((letter, size) for letter, size in pairs if isinstance(letter, str))
        return sizes
