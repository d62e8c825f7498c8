"""Where the pixels of the cameras are: key ego frame, previous image, voxels.

Letters in shapes: B samples, N cameras, D depth bins, h x w cells of a feature map, P points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmvl.occupancy.structures import OccupancySample

# closer than this (metres) a point is behind the previous camera
NEAREST = 1e-3
# a place in normalised coordinates that is outside of every image
OUTSIDE = -2.0


@dataclass
class Cameras:
    """Calibration of a batch, float32 on the device of the images.

    Attributes:
        intrinsics: (B, N, 3, 3).
        image_rotation: (B, N, 3, 3) and
        image_translation: (B, N, 3), augmentation of pixels p' = R p + t.
        sensor2key: (B, N, 4, 4) from a camera to the key ego frame, metres.
        to_previous: (B, N, 4, 4) from a camera to itself at the previous key frame, metres.
        bev_rotation: (B, 3, 3) augmentation of the key ego frame.
    """

    intrinsics: Tensor
    image_rotation: Tensor
    image_translation: Tensor
    sensor2key: Tensor
    to_previous: Tensor
    bev_rotation: Tensor

    @classmethod
    def from_samples(cls, samples: Sequence[OccupancySample], device: torch.device) -> 'Cameras':
        """Put the calibration of a batch together; poses are multiplied in float64."""

        def stacked(name: str) -> Tensor:
            return torch.stack([sample.get(name) for sample in samples])

        sensor2global = stacked('ego2global') @ stacked('sensor2ego')
        previous2global = stacked('previous_ego2global') @ stacked('previous_sensor2ego')
        key2global = stacked('key_ego2global')[:, None]
        found = (
            *(stacked(name) for name in ('intrinsics', 'image_rotation', 'image_translation')),
            torch.linalg.solve(key2global, sensor2global),
            torch.linalg.solve(previous2global, sensor2global),
            stacked('bev_rotation'),
        )
        return cls(*(each.float().to(device) for each in found))

    def vector(self) -> Tensor:
        """Describe each camera by 27 numbers: (B, N, 27) float32, not normalised.

        Focal lengths and centre (4), image augmentation (6), BEV augmentation (5), and the 3 x 4
        matrix from the camera to the key ego frame, row by row.
        """
        inner, turn, shift = self.intrinsics, self.image_rotation, self.image_translation
        bev = self.bev_rotation[:, None].expand_as(turn)
        numbers = [
            *(inner[..., 0, 0], inner[..., 1, 1], inner[..., 0, 2], inner[..., 1, 2]),
            *(turn[..., 0, 0], turn[..., 0, 1], shift[..., 0]),
            *(turn[..., 1, 0], turn[..., 1, 1], shift[..., 1]),
            *(bev[..., 0, 0], bev[..., 0, 1], bev[..., 1, 0], bev[..., 1, 1], bev[..., 2, 2]),
        ]
        return torch.cat([torch.stack(numbers, -1), self.sensor2key[..., :3, :].flatten(-2)], -1)

    def to_key_ego(self, points: Tensor) -> Tensor:
        """Take pixels with a depth to the BEV-augmented key ego frame.

        Args:
            points: (B, N, ..., 3): column and row in augmented pixels, depth in metres.

        Returns:
            (B, N, ..., 3) x, y, z in metres.
        """
        turn = self.bev_rotation[:, None]
        move = turn @ self.sensor2key[..., :3, :3] @ self._pixel_to_direction()
        shift = turn @ self.sensor2key[..., :3, 3:]
        return _along_rays(points, move, shift[..., 0])

    def to_previous_image(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Take pixels with a depth to where the same camera saw them one key frame ago.

        Args:
            points: as for :meth:`to_key_ego`.
            size: height and width of the images.

        Returns:
            (B, N, ..., 2) column and row, -1 is the centre of the first pixel and 1 that of the
            last; -2 behind the camera.
        """
        move = self.intrinsics @ self.to_previous[..., :3, :3] @ self._pixel_to_direction()
        shift = self.intrinsics @ self.to_previous[..., :3, 3:]
        seen = _along_rays(points, move, shift[..., 0])
        behind = seen[..., 2:] < NEAREST
        pixels = seen[..., :2] / seen[..., 2:]
        between = (1,) * (points.dim() - 3)
        turn = self.image_rotation[..., :2, :2]
        turn = turn.reshape(*turn.shape[:2], *between, 2, 2)
        pixels = (turn * pixels[..., None, :]).sum(-1)
        pixels = pixels + _between(self.image_translation[..., :2], points)
        height, width = size
        last = pixels.new_tensor([width - 1, height - 1])
        return (pixels / last * 2 - 1).masked_fill(behind, OUTSIDE)

    def _pixel_to_direction(self) -> Tensor:
        """(B, N, 3, 3): augmented pixel (u, v, 1) to a direction whose z is 1, in the camera."""
        undo = self.image_rotation.inverse()
        shift = torch.eye(3).to(undo).repeat(*undo.shape[:2], 1, 1)
        shift[..., :2, 2] = -self.image_translation[..., :2]
        return self.intrinsics.inverse() @ undo @ shift


def _along_rays(points: Tensor, move: Tensor, shift: Tensor) -> Tensor:
    """depth * move (u, v, 1) + shift of points (B, N, ..., 3)."""
    flat = points.flatten(2, -2)
    depth = flat[..., 2:]
    # (u, v, 1) times depth, without making a third coordinate of ones
    directions = flat[..., :2] @ move[..., :2].transpose(-1, -2) + move[..., None, :, 2]
    return (directions * depth + shift[:, :, None]).reshape(points.shape)


def _between(vector: Tensor, points: Tensor) -> Tensor:
    """(B, N, C) in a shape that broadcasts over (B, N, ..., C)."""
    return vector.reshape(*vector.shape[:2], *(1,) * (points.dim() - 3), vector.shape[-1])


def frustum(depth: Sequence[float], size: tuple[int, int], stride: int) -> Tensor:
    """List the points that a feature map stands for.

    Args:
        depth: nearest depth, farthest depth (not included) and step, metres.
        size: height and width of the images, pixels.
        stride: pixels of a cell.

    Returns:
        (D, h, w, 3) column, row, depth. The cells are spread from the first to the last pixel.
    """
    height, width = size
    bins = torch.arange(*depth, dtype=torch.float32)
    rows = torch.linspace(0, height - 1, height // stride)
    columns = torch.linspace(0, width - 1, width // stride)
    found = torch.meshgrid(bins, rows, columns, indexing='ij')
    return torch.stack([found[2], found[1], found[0]], -1)
