"""Drawing of the toy world: people as limbs, objects as a few coloured shapes.

Figures are lists of strokes in a local frame: x to the right (forward), y down, the ground at
y = 0, one unit = one pixel at scale 1. Letters in shapes: K points, H and W image size.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

Colour = tuple[float, float, float]
Figure = list['Stroke']
Limbs = tuple[tuple[float, float], tuple[float, float]]

SUPERSAMPLING = 2
TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 20.0, 11.0, 12.0, 13.0, 13.0
LEG = THIGH + SHIN
SHOULDER = LEG + TORSO
"""Height of the shoulders of somebody who stands on the ground."""


@dataclass(frozen=True)
class Stroke:
    """One shape: a line, a filled polygon, or (one point) a disc.

    Attributes:
        points: (K, 2) float, x and y.
        width: thickness of the line, or diameter of the disc.
        colour: RGB in 0-255.
        filled: fill the polygon through the points.
    """

    points: np.ndarray
    width: float
    colour: Colour
    filled: bool = False


@dataclass(frozen=True)
class Pose:
    """A person's posture, in degrees.

    Limbs are (upper, lower) directions: 0 hangs down, 90 points forward, 180 points up. ``lean``
    tips the trunk forward.
    """

    lean: float = 0.0
    arms: Limbs = ((28, 10), (-28, -10))
    legs: Limbs = ((14, 7), (-14, -7))


def _line(*points: tuple[float, float], width: float, colour: Colour) -> Stroke:
    return Stroke(np.array(points, dtype=float), width, colour)


def _polygon(*points: tuple[float, float], colour: Colour) -> Stroke:
    return Stroke(np.array(points, dtype=float), 1.0, colour, filled=True)


def _disc(x: float, y: float, diameter: float, colour: Colour) -> Stroke:
    return Stroke(np.array([[x, y]], dtype=float), diameter, colour)


def _ellipse(x: float, y: float, width: float, height: float, colour: Colour) -> Stroke:
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    points = np.stack((x + width / 2 * np.cos(angle), y + height / 2 * np.sin(angle)), axis=1)
    return Stroke(points, 1.0, colour, filled=True)


def _box(x1: float, y1: float, x2: float, y2: float, colour: Colour) -> Stroke:
    return _polygon((x1, y1), (x2, y1), (x2, y2), (x1, y2), colour=colour)


def _step(start: np.ndarray, degrees: float, length: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return start + length * np.array([np.sin(angle), np.cos(angle)])


def person(pose: Pose, pelvis: tuple[float, float], shirt: Colour, skin: Colour) -> Figure:
    """A person in a posture, facing forward (+x), with the hips at a point."""
    hips = np.array(pelvis, dtype=float)
    shoulders = _step(hips, 180 - pose.lean, TORSO)
    head = _step(shoulders, 180 - pose.lean, 9.0)
    trousers = (45.0, 45.0, 60.0)
    strokes = []
    for upper, lower in reversed(pose.legs):
        knee = _step(hips, upper, THIGH)
        strokes.append(Stroke(np.stack((hips, knee, _step(knee, lower, SHIN))), 5.5, trousers))
    strokes.append(Stroke(np.stack((hips, shoulders)), 10.0, shirt))
    strokes.append(_disc(float(head[0]), float(head[1]), 13.0, skin))
    for upper, lower in reversed(pose.arms):
        elbow = _step(shoulders, upper, UPPER_ARM)
        hand = _step(elbow, lower, FOREARM)
        strokes.append(Stroke(np.stack((shoulders, elbow)), 5.0, shirt))
        strokes.append(Stroke(np.stack((elbow, hand)), 4.5, skin))
    return strokes


def _bicycle() -> Figure:
    wheel = np.linspace(0, 2 * np.pi, 20)
    circle = 10.5 * np.stack((np.cos(wheel), np.sin(wheel)), axis=1)
    red, black = (215, 30, 35), (25, 25, 25)
    frame = _line((-18, -12), (-10, -28), (12, -28), (0, -12), (-18, -12), width=3.5, colour=red)
    return [
        Stroke(circle + (-18, -12), 3.5, black),
        Stroke(circle + (18, -12), 3.5, black),
        frame,
        _line((0, -12), (-10, -28), width=3.5, colour=red),
        _line((18, -12), (13, -34), (19, -36), width=3.5, colour=red),
        _line((-14, -30), (-6, -30), width=4, colour=black),
    ]


def _horse() -> Figure:
    brown, dark = (150, 85, 35), (70, 35, 15)
    legs = [_line((x, -20), (x, -3), width=5, colour=brown) for x in (-17, -9, 10, 18)]
    return [
        *legs,
        _ellipse(0, -25, 48, 18, brown),
        _polygon((12, -30), (22, -22), (31, -42), (24, -46), colour=brown),
        _ellipse(32, -42, 18, 9, brown),
        _line((14, -32), (24, -47), width=4, colour=dark),
        _line((-23, -28), (-29, -10), width=4, colour=dark),
    ]


def _elephant() -> Figure:
    grey, dark = (125, 135, 160), (90, 98, 120)
    legs = [_box(x - 5, -18, x + 5, 0, grey) for x in (-17, -3, 14)]
    return [
        *legs,
        _ellipse(-2, -26, 52, 32, grey),
        _disc(24, -32, 24, grey),
        _line((33, -30), (38, -18), (37, -6), width=6, colour=grey),
        _ellipse(19, -32, 12, 19, dark),
    ]


def _skateboard() -> Figure:
    wheels = [_disc(x, -5, 10, (30, 30, 30)) for x in (-14, 14)]
    return [
        *wheels,
        _line((-25, -17), (-18, -12), (18, -12), (25, -17), width=7, colour=(255, 120, 0)),
    ]


def _surfboard() -> Figure:
    stripe = _line((-24, -9), (24, -9), width=3, colour=(20, 110, 230))
    return [_ellipse(0, -9, 66, 18, (250, 235, 40)), stripe]


def _chair() -> Figure:
    green = (30, 150, 60)
    return [
        _line((-15, -42), (-15, -2), width=5, colour=green),
        _line((13, -20), (13, -2), width=5, colour=green),
        _box(-17, -23, 16, -16, green),
        _box(-18, -44, -11, -22, green),
    ]


def _suitcase() -> Figure:
    purple, dark = (130, 40, 160), (75, 15, 100)
    return [
        _line((-7, -32), (-7, -38), (7, -38), (7, -32), width=3, colour=dark),
        _box(-15, -33, 15, 0, purple),
        _box(-15, -24, 15, -20, dark),
        _box(-15, -11, 15, -7, dark),
    ]


def _umbrella() -> Figure:
    angle = np.linspace(np.pi, 2 * np.pi, 20)
    dome = np.stack((24 * np.cos(angle), -20 + 20 * np.sin(angle)), axis=1)
    panel = np.stack((9 * np.cos(angle), -20 + 20 * np.sin(angle)), axis=1)
    return [
        _line((0, -20), (0, -2), width=3.5, colour=(40, 40, 40)),
        Stroke(dome, 1.0, (240, 40, 130), filled=True),
        Stroke(panel, 1.0, (255, 225, 240), filled=True),
    ]


def _bed() -> Figure:
    blue, wood = (40, 80, 205), (110, 70, 40)
    return [
        _box(-36, -34, -31, 0, wood),
        _box(31, -18, 35, 0, wood),
        _box(-33, -18, 33, -5, blue),
        _ellipse(-22, -19, 16, 8, (245, 245, 245)),
    ]


OBJECTS: dict[str, tuple[Callable[[], Figure], float]] = {
    'bicycle': (_bicycle, 31.0),
    'horse': (_horse, 33.0),
    'elephant': (_elephant, 41.0),
    'skateboard': (_skateboard, 16.0),
    'surfboard': (_surfboard, 16.0),
    'chair': (_chair, 23.0),
    'suitcase': (_suitcase, 33.0),
    'umbrella': (_umbrella, 40.0),
    'bed': (_bed, 18.0),
}
"""How each object is drawn, and the height above the ground at which it carries a person."""


def moved(
    figure: Figure, dx: float = 0.0, dy: float = 0.0, scale: float = 1.0, flip: bool = False
) -> Figure:
    """The figure scaled (mirrored first where asked, about x = 0), then shifted."""
    factor = np.array([-scale if flip else scale, scale])
    return [replace(s, points=s.points * factor + (dx, dy), width=s.width * scale) for s in figure]


def tinted(figure: Figure, shift: np.ndarray) -> Figure:
    """The figure with a (3,) RGB shift on all its colours."""
    return [
        replace(s, colour=tuple(np.clip(np.asarray(s.colour) + shift, 0, 255).tolist()))
        for s in figure
    ]


def extent(figure: Figure) -> np.ndarray:
    """(4,) xyxy float box around everything the figure paints, hidden parts included."""
    margin = [0.5 if s.filled else s.width / 2 for s in figure]
    low = np.min([s.points.min(0) - m for s, m in zip(figure, margin, strict=True)], axis=0)
    high = np.max([s.points.max(0) + m for s, m in zip(figure, margin, strict=True)], axis=0)
    return np.concatenate((low, high))


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A blotchy (H, W, 3) float32 RGB picture: pale above the horizon, darker below."""
    rows = np.linspace(0, 1, height)[:, None, None]
    horizon = rng.uniform(0.45, 0.75)
    sky = rng.uniform(180, 220) + rng.uniform(-15, 15, 3)
    ground = rng.uniform(130, 165) + rng.uniform(-15, 15, 3)
    picture = np.where(rows < horizon, sky, ground) + np.zeros((1, width, 1))
    coarse = rng.normal(0, 9, (7, 7, 1)) + rng.normal(0, 4, (7, 7, 3))
    blotches = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (picture + blotches).astype(np.float32)


def paint(picture: np.ndarray, figures: list[Figure], rng: np.random.Generator) -> np.ndarray:
    """Draw figures, first at the back, and add sensor noise.

    Args:
        picture: (H, W, 3) float32 RGB.
        figures: in pixels of the picture.
        rng: source of the noise.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = picture.shape[:2]
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    canvas = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR).clip(0, 255).astype(np.uint8)
    for stroke in (stroke for figure in figures for stroke in figure):
        _paint_stroke(canvas, stroke)
    small = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    noisy = small + rng.normal(0, 4, small.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _paint_stroke(canvas: np.ndarray, stroke: Stroke) -> None:
    # pixel centres lie at half-integers of the continuous frame
    points = np.rint(stroke.points * SUPERSAMPLING - 0.5).astype(np.int32)
    thickness = max(1, round(stroke.width * SUPERSAMPLING))
    if stroke.filled:
        cv2.fillPoly(canvas, [points], stroke.colour, lineType=cv2.LINE_AA)
    elif len(points) == 1:
        cv2.circle(canvas, points[0].tolist(), thickness // 2, stroke.colour, -1, cv2.LINE_AA)
    else:
        cv2.polylines(canvas, [points], False, stroke.colour, thickness, cv2.LINE_AA)
