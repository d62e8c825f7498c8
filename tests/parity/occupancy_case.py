"""Grids, scenes and images that grow from seeds, for the parity of occupancy's data and metrics."""

from typing import Any

import numpy as np

GRID = (200, 200, 16)
SMALL = (24, 20, 8)
CLASSES = {'occ3d': 18, 'openocc': 17}
NUM_RAYS = 2
"""Samples whose rays are cast; the second has two origins."""

NUM_VOXELS = 6
NUM_FRAMES = 12
NUM_VIEWS = 12


def street(seed: int, num_classes: int, grid: tuple[int, int, int] = GRID) -> np.ndarray:
    """A ground, boxes of all classes and loose voxels, (X, Y, Z) uint8."""
    rng = np.random.default_rng(seed)
    labels = np.full(grid, num_classes - 1, np.uint8)
    labels[:, :, : max(1, grid[2] // 8)] = rng.integers(0, num_classes - 1)
    for _ in range(60):
        low = rng.integers(0, np.array(grid) - 2)
        high = low + rng.integers(1, np.array(grid) // 6 + 2)
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = rng.integers(
            0, num_classes
        )
    loose = rng.random(grid) < 0.0005
    labels[loose] = rng.integers(0, num_classes - 1, int(loose.sum()))
    if grid == GRID:  # nothing around the origins
        labels[85:120, 85:120, 2:] = labels[:25, 175:, 2:] = num_classes - 1
    return labels


def prediction(labels: np.ndarray, seed: int, num_classes: int) -> np.ndarray:
    """The labels, shifted, with other classes here and there."""
    rng = np.random.default_rng((seed, 1))
    pred = np.roll(labels, rng.integers(-1, 2, 3), (0, 1, 2))
    wrong = rng.random(labels.shape) < 0.0005
    pred[wrong] = rng.integers(0, num_classes, int(wrong.sum()))
    return pred


def ray_sample(seed: int) -> dict[str, np.ndarray]:
    """Labels and prediction with flow, and origins (O, 3) float64, inside and at the edge."""
    rng = np.random.default_rng((seed, 2))
    labels = street(seed, CLASSES['openocc'])
    origins = np.array([[0.985793, 0.0, 1.84019], [-37.2, 38.6, 1.7]])[: seed + 1]
    return {
        'labels': labels,
        'pred': prediction(labels, seed, CLASSES['openocc']),
        'gt_flow': rng.normal(0, 4, (*GRID, 2)).astype(np.float32),
        'pred_flow': rng.normal(0, 4, (*GRID, 2)).astype(np.float32),
        'origins': origins + rng.normal(0, 0.1, origins.shape),
    }


def voxel_sample(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prediction, labels with some 255, and camera mask of a small grid."""
    rng = np.random.default_rng((seed, 3))
    labels = street(seed, CLASSES['occ3d'], SMALL)
    labels[labels == seed] = 17  # a class that is missing
    pred = prediction(labels, seed, CLASSES['occ3d'])
    labels[rng.random(SMALL) < 0.05] = 255
    return pred, labels, rng.random(SMALL) < 0.6


def quaternion(rng: np.random.Generator, degrees: float = 180.0) -> list[float]:
    """A rotation mostly about z, (w, x, y, z)."""
    half = np.deg2rad(rng.uniform(-degrees, degrees)) / 2
    value = np.array([np.cos(half), 0, 0, np.sin(half)]) + rng.normal(0, 0.004, 4)
    return (value / np.linalg.norm(value)).tolist()


def drive() -> list[dict[str, Any]]:
    """Infos of a scene on a bend whose later frames are far from the first ones."""
    rng = np.random.default_rng(7)
    return [
        {
            'token': f't{number}',
            'scene_name': 'scene-0001',
            'scene_token': 's1',
            'lidar2ego_translation': [0.985793, 0.0, 1.84019],
            'lidar2ego_rotation': quaternion(rng, 3),
            'ego2global_translation': [400.0 + 5.5 * number, 1100.0 + number**1.5, 0.0],
            'ego2global_rotation': quaternion(rng, 30),
        }
        for number in range(NUM_FRAMES)
    ]


def photograph(seed: int, height: int = 90, width: int = 160) -> np.ndarray:
    """A picture with edges, (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng((seed, 4))
    coarse = rng.integers(0, 256, (height // 5, width // 5, 3), np.uint8)
    return coarse.repeat(5, 0).repeat(5, 1)


def view(seed: int) -> dict[str, Any]:
    """Arguments of the released transformation of one image."""
    rng = np.random.default_rng((seed, 5))
    resize = float(rng.uniform(0.4, 0.6))
    size = (int(160 * resize), int(90 * resize))
    left, top = int(rng.integers(-3, 12)), int(rng.integers(-2, 14))
    return {
        'resize': resize,
        'resize_dims': size,
        'crop': (left, top, left + 64, top + 32),
        'flip': bool(seed % 2),
        'rotate': float(rng.uniform(-6, 6)) if seed > 1 else 0.0,
    }


def cloud(seed: int, count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 5) float32 in the LiDAR frame, and their classes (P,)."""
    rng = np.random.default_rng((seed, 6))
    places = rng.uniform((-50, -50, -3), (50, 50, 5), (count, 3))
    points = np.concatenate((places, rng.uniform(0, 30, (count, 2))), 1)
    return points.astype(np.float32), rng.integers(0, 17, count)


def camera(seed: int) -> dict[str, Any]:
    """A camera of an info file that looks forward, with an ego pose of its own."""
    rng = np.random.default_rng((seed, 8))
    turn = np.deg2rad(rng.uniform(-60, 60)) / 2
    # from x right, y down, z forward to x forward, y left, z up, then about z
    base, about = np.array([0.5, -0.5, 0.5, -0.5]), np.array([np.cos(turn), np.sin(turn)])
    w, x, y, z = base
    rotation = [
        about[0] * w - about[1] * z,
        about[0] * x - about[1] * y,
        about[0] * y + about[1] * x,
        about[0] * z + about[1] * w,
    ]
    return {
        'sensor2ego_rotation': rotation,
        'sensor2ego_translation': [1.5, 0.2, 1.5],
        'ego2global_rotation': quaternion(rng, 30),
        'ego2global_translation': [410.0 + float(rng.normal(0, 0.2)), 1101.0, 0.0],
        'cam_intrinsic': [[126.0, 0.0, 81.0], [0.0, 126.0, 49.0], [0.0, 0.0, 1.0]],
    }
