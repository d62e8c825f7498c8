"""LiDAR points as depth of the pixels and as classes of the cells of the images.

Letters in shapes: P points, N cameras, H x W pixels of the network's input, S stride of the cells.

Source: BEVDepth (Li et al. 2022) and ALOcc, released code. Two things differ: the sums are in
double precision, and of several points in a pixel the nearest one counts. The released code sorts
by a number in single precision, and may take a point up to 1.6 m behind it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmvl.occupancy.datasets.points import read_point_classes, read_points
from mmvl.registry import TRANSFORMS

Results = dict[str, Any]

NO_CLASS = 255


def project_points(
    points: np.ndarray,
    lidar2global: np.ndarray,
    camera2global: np.ndarray,
    intrinsics: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
) -> np.ndarray:
    """Points in the pixels of an augmented image.

    Args:
        points: (P, 3) in the LiDAR frame, metres.
        lidar2global: (4, 4), at the time of the LiDAR.
        camera2global: (4, 4), at the time of the camera.
        intrinsics: (3, 3).
        rotation: (3, 3) of the augmentation of pixels.
        translation: (3,) of the same.

    Returns:
        (P, 3) float64: x and y in pixels, depth in metres. Points behind the camera have a depth
        that is not positive, and no meaningful pixel.
    """
    to_camera = np.linalg.inv(camera2global) @ lidar2global
    rays = (points @ to_camera[:3, :3].T + to_camera[:3, 3]) @ intrinsics.T
    depth = rays[:, 2:]
    with np.errstate(divide='ignore', invalid='ignore'):
        pixels = np.concatenate((rays[:, :2] / depth, depth), 1)
        return pixels @ rotation.T + translation


def nearest_in_pixels(
    pixels: np.ndarray, size: tuple[int, int], near: float, far: float
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest point of every pixel.

    Args:
        pixels: (P, 3) x, y and depth. Coordinates are rounded, halves to the even side.
        size: (H, W).
        near: smallest depth that counts, metres.
        far: depth from which on nothing counts.

    Returns:
        Which points they are, (M,), and their pixels, (M,), numbered row by row.
    """
    height, width = size
    depth = pixels[:, 2]
    # what is behind the camera has no pixel, and must not become an integer
    kept = np.flatnonzero((depth >= near) & (depth < far) & np.isfinite(pixels).all(1))
    x, y = np.round(pixels[kept, :2]).T
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    kept, place = kept[inside], (y * width + x)[inside].astype(np.int64)
    order = np.lexsort((depth[kept], place))
    kept, place = kept[order], place[order]
    first = np.r_[True, place[1:] != place[:-1]] if len(place) else np.zeros(0, np.bool_)
    return kept[first], place[first]


@TRANSFORMS.register_module()
class LoadLiDARDepth(BaseTransform):
    """Read the point cloud, and give the depth that the network is to learn.

    Adds ``depth_map`` (N, H, W) float32 metres, 0 where no point is. Where the dataset knows the
    classes of the points, also ``image_semantics`` (N, H / S, W / S) int64, the class of the point
    of least depth in a cell, 255 where no point is. Must come behind :class:`LoadSurroundImages`.

    Args:
        near: smallest depth that counts, metres.
        far: depth from which on nothing counts.
        stride: S.
        class_map: new number of each class of the point files. The released configs of OpenOcc
            take Occ3D's numbers as they are, although OpenOcc's differ;
            :data:`.OCC3D_TO_OPENOCC` gives the right ones.
    """

    def __init__(
        self,
        near: float = 1.0,
        far: float = 45.0,
        stride: int = 16,
        class_map: Sequence[int] | None = None,
    ) -> None:
        self.near, self.far, self.stride = near, far, stride
        self.class_map = None if class_map is None else np.array(class_map)

    def transform(self, results: Results) -> Results:
        """Read.

        Raises:
            AnnotationError: a file is missing, empty or damaged.
        """
        points = read_points(results['lidar_path'])
        classes = None
        if results['lidar_seg_path']:
            classes = read_point_classes(results['lidar_seg_path'], len(points))
            classes = classes if self.class_map is None else self.class_map[classes]
        size = tuple(results['images'].shape[-2:])
        lidar2global = results['lidar_ego2global'] @ results['lidar2ego']
        cameras = zip(
            results['ego2global'] @ results['sensor2ego'],
            results['intrinsics'],
            results['image_rotation'].double().numpy(),
            results['image_translation'].double().numpy(),
            strict=True,
        )
        depths, semantics = [], []
        for camera in cameras:
            pixels = project_points(points[:, :3].astype(np.float64), lidar2global, *camera)
            chosen, place = nearest_in_pixels(pixels, size, self.near, self.far)
            depth = np.zeros(size, np.float32)
            depth.reshape(-1)[place] = pixels[chosen, 2]
            depths.append(depth)
            if classes is not None:
                semantics.append(self._cells(depth, place, classes[chosen]))
        results['depth_map'] = torch.from_numpy(np.stack(depths))
        if semantics:
            results['image_semantics'] = torch.from_numpy(np.stack(semantics))
        return results

    def _cells(self, depth: np.ndarray, place: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Class of the least depth in every cell, (H / S, W / S) int64."""
        labels = np.full(depth.shape, NO_CLASS, np.int64)
        labels.reshape(-1)[place] = classes
        far = np.where(depth > 0, depth, np.inf)
        parts = [_in_cells(each, self.stride) for each in (far, labels)]
        nearest = parts[0].argmin(-1)[..., None]
        return np.take_along_axis(parts[1], nearest, -1)[..., 0]


def _in_cells(image: np.ndarray, stride: int) -> np.ndarray:
    """(H, W) to (H / S, W / S, S * S)."""
    height, width = (side // stride for side in image.shape)
    cells = image.reshape(height, stride, width, stride).transpose(0, 2, 1, 3)
    return cells.reshape(height, width, stride * stride)
