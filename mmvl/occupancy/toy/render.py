"""Rays into the street: images of cameras, and points of a LiDAR.

Letters in shapes: M boxes, R rays, H x W pixels.
"""

from dataclasses import dataclass

import numpy as np

from mmvl.occupancy.datasets.classes import OCC3D

from .street import Boxes, Ground

SKY = len(OCC3D) - 1
"""Label of a ray that hits nothing, that of free space."""

LIGHT = (0.35, 0.55, 0.76)
"""Where the light comes from, in the frame of the street."""

COLOURS = np.zeros((len(OCC3D), 3), np.float32)
"""RGB in 0-255."""

for _name, _colour in {
    'barrier': (235, 130, 40),
    'bus': (240, 205, 50),
    'car': (60, 110, 225),
    'truck': (150, 85, 215),
    'driveable_surface': (95, 95, 100),
    'sidewalk': (175, 165, 160),
    'terrain': (150, 170, 90),
    'manmade': (200, 185, 205),
    'free': (190, 215, 245),
}.items():
    COLOURS[OCC3D.index(_name)] = _colour

FAR = 40.0
"""What is further away is not in the pictures, metres."""

NOISE = 5.0
STRIPES = 0.8
"""Period of the pattern on all surfaces, metres."""


NOTHING = Boxes(
    centre=np.zeros((1, 2)),
    size=np.zeros((1, 3)),
    yaw=np.zeros(1),
    label=np.zeros(1, np.int64),
    velocity=np.zeros((1, 2)),
    shade=np.ones(1),
)
"""A box that no ray hits."""


@dataclass(frozen=True)
class Hits:
    """Where R rays end.

    Attributes:
        distance: (R,) metres along the ray, infinite where nothing is.
        label: (R,) int64.
        normal: (R, 3) of the surface.
        pattern: (R,) bool, which half of the stripes it is.
        shade: (R,), brightness of the thing.
    """

    distance: np.ndarray
    label: np.ndarray
    normal: np.ndarray
    pattern: np.ndarray
    shade: np.ndarray


def cast(boxes: Boxes, ground: Ground, origin: np.ndarray, ways: np.ndarray) -> Hits:
    """Follow rays to the nearest box or the ground.

    Args:
        boxes: M of them.
        ground: between them.
        origin: (3,) in the frame of the street.
        ways: (R, 3), of unit length.
    """
    if not len(boxes.label):
        boxes = NOTHING
    distance, axis = _enter(boxes, origin, ways)
    nearest = distance.argmin(0)
    rows = np.arange(len(ways))
    distance, axis = distance[nearest, rows], axis[nearest, rows]
    with np.errstate(divide='ignore'):
        down = np.where(ways[:, 2] < 0, -origin[2] / ways[:, 2], np.inf)
    on_ground = down < distance
    distance = np.minimum(distance, down)
    nothing = ~np.isfinite(distance)
    places = origin + np.where(nothing, 0, distance)[:, None] * ways
    label = np.where(on_ground, ground.classes(places), boxes.label[nearest])
    yaw = boxes.yaw[nearest]
    faces = np.stack((np.cos(yaw), np.sin(yaw)), -1), np.stack((-np.sin(yaw), np.cos(yaw)), -1)
    normal = np.zeros_like(ways)
    normal[:, :2] = np.where(axis[:, None] == 0, faces[0], faces[1])
    normal[on_ground | (axis == 2)] = (0, 0, 1)
    # a face that is seen looks towards the ray
    normal *= -np.sign((normal * ways).sum(1, keepdims=True))
    stripes = np.floor(places / STRIPES).astype(np.int64).sum(1) % 2 == 0
    return Hits(
        distance=distance,
        label=np.where(nothing, SKY, label),
        normal=normal,
        pattern=stripes & ~nothing,
        shade=np.where(on_ground | nothing, 1.0, boxes.shade[nearest]),
    )


def _enter(boxes: Boxes, origin: np.ndarray, ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to every box, infinite for a miss, and axis of the face that is hit: (M, R)."""
    start = boxes.local(origin[None])[:, 0]
    yaw = boxes.yaw[:, None].astype(np.float32)
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = (ways[:, number].astype(np.float32) for number in range(3))
    flat = np.broadcast_to(z, (len(yaw), len(z)))
    local: list[np.ndarray] = [cos * x + sin * y, cos * y - sin * x, flat]
    low = np.concatenate((-boxes.size[:, :2] / 2, np.zeros((len(start), 1))), 1)
    high = np.concatenate((boxes.size[:, :2] / 2, boxes.size[:, 2:]), 1)
    enter = np.full(local[0].shape, -np.inf, np.float32)
    leave = np.full(local[0].shape, np.inf, np.float32)
    axis = np.zeros(local[0].shape, np.int8)
    for number, way in enumerate(local):
        way = np.where(way == 0, np.float32(1e-12), way)
        near, far = ((each - start)[:, number, None].astype(np.float32) for each in (low, high))
        first, last = np.minimum(near / way, far / way), np.maximum(near / way, far / way)
        axis[first > enter] = number
        enter, leave = np.maximum(enter, first), np.minimum(leave, last)
    enter[(enter >= leave) | (enter <= 0)] = np.inf
    return enter, axis


def pixel_ways(intrinsics: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Rays of all pixels of an image (H, W) in the frame of the camera, (H * W, 3), depth 1."""
    height, width = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack((x.ravel(), y.ravel(), np.ones(x.size)), -1)
    return pixels @ np.linalg.inv(intrinsics).T


def photograph(
    boxes: Boxes,
    ground: Ground,
    camera2street: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Take a picture.

    Args:
        boxes: what there is.
        ground: between them.
        camera2street: (4, 4), camera with x right, y down, z forward.
        intrinsics: (3, 3).
        size: (H, W).
        rng: of the noise.

    Returns:
        (H, W, 3) uint8 RGB, and the depth (H, W) along the axis of the camera, infinite for sky.
    """
    ways = pixel_ways(intrinsics, size)
    length = np.linalg.norm(ways, axis=1)
    turned = (ways / length[:, None]) @ camera2street[:3, :3].T
    there = _in_view(boxes, camera2street, size[1] / 2 / intrinsics[0, 0])
    hits = cast(there, ground, camera2street[:3, 3], turned)
    colour = COLOURS[hits.label] * hits.shade[:, None]
    light = 0.7 + 0.3 * np.maximum(hits.normal @ np.array(LIGHT), 0)
    light = light * np.where(hits.pattern, 1.0, 0.9)
    light[hits.label == SKY] = 1
    image = colour * light[:, None] + rng.normal(0, NOISE, colour.shape)
    depth = (hits.distance / length).reshape(size)
    return image.clip(0, 255).astype(np.uint8).reshape(*size, 3), depth


def _in_view(boxes: Boxes, camera2street: np.ndarray, slope: float) -> Boxes:
    """Boxes that may be in a picture; ``slope`` is the tangent of half its angle of view."""
    near = boxes.near(camera2street[:3, 3], FAR)
    reach = np.linalg.norm(near.size[:, :2], axis=1) / 2
    ways = near.centre - camera2street[:2, 3]
    ahead, aside = ways @ camera2street[:2, 2], np.abs(ways @ camera2street[:2, 0])
    return near.select((ahead > -reach) & (aside - slope * ahead < reach * np.hypot(1, slope)))


def scan(
    boxes: Boxes,
    ground: Ground,
    lidar2street: np.ndarray,
    reach: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a LiDAR of 24 beams once.

    Args:
        boxes: what there is.
        ground: between them.
        lidar2street: (4, 4).
        reach: metres.
        rng: of the noise.

    Returns:
        Points (P, 5) float32 in the LiDAR frame: x, y, z, intensity, beam; and their classes (P,).
    """
    beams = np.deg2rad(np.linspace(-28, 12, 24))
    azimuth = np.deg2rad(np.arange(0, 360, 2))
    pitch, around = (each.ravel() for each in np.meshgrid(beams, azimuth, indexing='ij'))
    ways = np.stack(
        (np.cos(pitch) * np.cos(around), np.cos(pitch) * np.sin(around), np.sin(pitch)), -1
    )
    near = boxes.near(lidar2street[:3, 3], reach)
    hits = cast(near, ground, lidar2street[:3, 3], ways @ lidar2street[:3, :3].T)
    kept = hits.distance < reach
    distance = hits.distance[kept] + rng.normal(0, 0.01, int(kept.sum()))
    beam = np.repeat(np.arange(len(beams)), len(azimuth))[kept]
    brightness = COLOURS[hits.label[kept]].mean(1)
    points = np.column_stack((ways[kept] * distance[:, None], brightness, beam))
    return points.astype(np.float32), hits.label[kept].astype(np.int64)
