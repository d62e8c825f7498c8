"""Voxels as shaded cubes, drawn by casting a ray for every pixel; no display is needed.

Frames: ego, x forward, y left, z up, metres. Letters in shapes: X Y Z voxels, H x W pixels, M rays,
K classes that are not free.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
import torch

from mmvl.ops import COMPILED_FOR, voxel_ray_cast
from mmvl.visualization import beside
from mmvl.visualization.canvas import PALETTE, Color

from .datasets.classes import OCC3D

COLORS: Final[dict[str, Color]] = {
    'others': (120, 120, 120),
    'barrier': (112, 128, 144),
    'bicycle': (220, 20, 60),
    'bus': (255, 127, 80),
    'car': (255, 158, 0),
    'construction_vehicle': (233, 150, 70),
    'motorcycle': (255, 61, 99),
    'pedestrian': (0, 0, 230),
    'traffic_cone': (47, 79, 79),
    'trailer': (255, 140, 0),
    'truck': (255, 99, 71),
    'driveable_surface': (0, 207, 191),
    'other_flat': (175, 0, 75),
    'sidewalk': (75, 0, 75),
    'terrain': (112, 180, 60),
    'manmade': (222, 184, 135),
    'vegetation': (0, 175, 0),
}
"""RGB of the classes. Source: the class colours of nuScenes."""
SKY: Final = 245
EGO_COLOR: Final = (250, 250, 250)
EGO_CAR: Final = ((-1.0, -0.95, 0.0), (3.6, 0.95, 1.6))
"""Corners of the car that carries the sensors, metres; its frame begins at the rear axle."""
LIGHT: Final = (0.72, 0.84, 1.0)
"""Brightness of faces across x, y and z."""
RIM: Final = 0.07
"""Part of a face, from its edge, that is darker, so that voxels can be told apart."""
SMOOTH: Final = 2 if 'cpu' in COMPILED_FOR else 1
"""Rays along each side of a pixel; more than one take too long where nothing is compiled."""


class Rays(NamedTuple):
    """One ray a pixel, (H, W, 3) float64 in the ego frame: where it begins, where it goes."""

    origins: np.ndarray
    directions: np.ndarray


def class_colors(classes: Sequence[str]) -> np.ndarray:
    """RGB (K, 3) uint8 of K classes; classes without a known colour get one of the palette."""
    spare = (PALETTE[i % len(PALETTE)] for i in range(len(classes)))
    return np.array([COLORS.get(name) or next(spare) for name in classes], np.uint8)


def view_from_behind(height: int, width: int, reach: float) -> Rays:
    """A camera behind and above the car that looks forward and down.

    Args:
        height: pixels.
        width: pixels.
        reach: half the width of the grid, metres.
    """
    eye = np.array([-0.62, 0.0, 0.52]) * reach
    forward = np.array([0.22, 0.0, 0.0]) * reach - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    # 70 degrees from side to side
    scale = np.tan(np.deg2rad(35)) / (width / 2)
    columns = (np.arange(width) + 0.5 - width / 2) * scale
    rows = (np.arange(height) + 0.5 - height / 2) * scale
    directions = forward + columns[:, None] * right + rows[:, None, None] * down
    return Rays(np.broadcast_to(eye, directions.shape), directions)


def view_from_above(size: int, lower: Sequence[float], upper: Sequence[float]) -> Rays:
    """Parallel rays straight down; forward is up, left is left.

    Args:
        size: pixels of each side.
        lower: corner of the grid, metres.
        upper: the corner opposite.
    """
    steps = (np.arange(size) + 0.5) / size
    x = upper[0] - steps * (upper[0] - lower[0])
    y = upper[1] - steps * (upper[1] - lower[1])
    grid = np.meshgrid(x, y, indexing='ij')
    origins = np.stack((*grid, np.full((size, size), upper[2] + 1.0)), -1)
    return Rays(origins, np.broadcast_to(np.array([0.0, 0.0, -1.0]), origins.shape))


def render(
    semantics: np.ndarray,
    colors: np.ndarray,
    rays: Rays,
    lower: Sequence[float],
    voxel_size: float,
) -> np.ndarray:
    """Draw voxels as shaded cubes, one ray a pixel.

    Args:
        semantics: (X, Y, Z) class of each voxel; what is not below K is free.
        colors: (K, 3) uint8 RGB of the classes.
        rays: of a view.
        lower: corner of the grid, metres.
        voxel_size: metres.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    shape = rays.directions.shape
    directions = rays.directions.reshape(-1, 3)
    origins = (rays.origins.reshape(-1, 3) - lower) / voxel_size
    origins, meets = _at_the_border(origins, directions, semantics.shape)
    origins, directions = origins[meets], directions[meets]
    occupied = torch.from_numpy(np.ascontiguousarray((semantics < len(colors)).T))[None]
    ends = torch.from_numpy(origins + directions)
    index = torch.zeros(len(origins), dtype=torch.int64)
    _, voxel, hit = voxel_ray_cast(occupied, torch.from_numpy(origins), ends, index)
    seen = hit.numpy()
    place, origins, directions = voxel.numpy()[seen], origins[seen], directions[seen]
    light = _light(origins, directions, place, semantics.shape[2])
    picture = np.full((shape[0] * shape[1], 3), SKY, np.uint8)
    rows = meets.nonzero()[0][seen]
    picture[rows] = (colors[semantics[tuple(place.T)]] * light[:, None]).round()
    return picture.reshape(shape)


def _at_the_border(
    origins: np.ndarray, directions: np.ndarray, size: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Move origins (M, 3) to where their rays enter the grid; and which ones (M,) meet it."""
    with np.errstate(divide='ignore', invalid='ignore'):
        ways = np.stack([(-origins) / directions, (np.array(size) - origins) / directions])
    # a ray along a border meets it nowhere, or everywhere
    near = np.nan_to_num(ways.min(0), nan=-np.inf, posinf=np.inf, neginf=-np.inf).max(1)
    far = np.nan_to_num(ways.max(0), nan=np.inf, posinf=np.inf, neginf=-np.inf).min(1)
    meets = far > np.maximum(near, 0)
    near = np.where(meets, np.maximum(near - 0.5 / np.abs(directions).max(1), 0), 0)
    return origins + near[:, None] * directions, meets


def _light(
    origins: np.ndarray, directions: np.ndarray, place: np.ndarray, layers: int
) -> np.ndarray:
    """Brightness (M,) 0-1 of where rays enter the voxels (M, 3) that they hit."""
    with np.errstate(divide='ignore', invalid='ignore'):
        ways = (place + (directions < 0) - origins) / directions
    ways = np.where(directions == 0, -np.inf, ways)
    axis = ways.argmax(1)
    entry = origins + ways.max(1, keepdims=True) * directions - place
    light = np.array(LIGHT)[axis] * (0.82 + 0.18 * place[:, 2] / max(layers - 1, 1))
    # distance from the nearest edge of the face that is entered
    inner = np.minimum(entry, 1 - entry)
    np.put_along_axis(inner, axis[:, None], 1.0, 1)
    return np.where(inner.min(1) < RIM, 0.8, 1.0) * light


def draw_voxels(
    semantics: np.ndarray,
    classes: Sequence[str] = OCC3D,
    lower: Sequence[float] = (-40.0, -40.0, -1.0),
    voxel_size: float = 0.4,
    height: int = 400,
) -> np.ndarray:
    """Draw voxels from behind the car and from above, side by side.

    Args:
        semantics: (X, Y, Z) class of each voxel; the last class and 255 are free.
        classes: their names, free last.
        lower: corner of the grid in the ego frame, metres.
        voxel_size: metres.
        height: pixels.

    Returns:
        (height, 2.6 * height + 8, 3) uint8 RGB.

    Raises:
        ValueError: the voxels are not (X, Y, Z).
    """
    if semantics.ndim != 3:
        raise ValueError(f'semantics is {semantics.shape}.\nWhat to do: pass (X, Y, Z).')
    colors = np.concatenate((class_colors(classes[:-1]), np.array([EGO_COLOR], np.uint8)))
    # the car takes the number of free, and free one that has no colour
    grid = np.where(semantics >= len(classes) - 1, len(classes), semantics).astype(np.int64)
    upper = np.array(lower) + np.array(grid.shape) * voxel_size
    box = [
        slice(*np.clip(np.floor((np.array(pair) - low) / voxel_size + 0.5), 0, None).astype(int))
        for pair, low in zip(zip(*EGO_CAR, strict=True), lower, strict=True)
    ]
    inside = grid[tuple(box)]
    inside[inside == len(classes)] = len(classes) - 1
    reach = float(min(upper[0], upper[1], -lower[0], -lower[1]))
    views = (
        view_from_behind(height * SMOOTH, round(1.6 * height) * SMOOTH, reach),
        view_from_above(height * SMOOTH, lower, upper.tolist()),
    )
    pictures = [render(grid, colors, view, lower, voxel_size) for view in views]
    sizes = [(picture.shape[1] // SMOOTH, height) for picture in pictures]
    resized = [
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        for picture, size in zip(pictures, sizes, strict=True)
    ]
    return beside(resized)
