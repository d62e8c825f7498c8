"""Things of the toy world: coloured shapes, and how they are painted on a blotchy ground.

Coordinates are continuous pixels, x to the right, y down. Letters in shapes: S side of the
picture, K points of an outline.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    'red': (205, 45, 45),
    'green': (40, 150, 70),
    'blue': (45, 85, 210),
    'yellow': (235, 205, 60),
    'purple': (150, 70, 180),
    'white': (240, 240, 240),
    'black': (25, 25, 25),
    'cyan': (60, 200, 215),
}
SHAPES: Final = ('circle', 'square', 'triangle', 'ring')
SIZES: Final[dict[str, tuple[float, float]]] = {'small': (0.085, 0.1), 'large': (0.14, 0.16)}
"""Range of the radius, as a share of the picture's side."""

HELD_OUT: Final = frozenset(
    (colour, SHAPES[(row + 1) % len(SHAPES)])
    for row, colour in enumerate(tuple(COLOURS)[: len(SHAPES)])
)
"""An eighth of the pairs of colour and shape, each shape once."""

Pair = tuple[str, str]

SUPERSAMPLING: Final = 4
GAP: Final = 2.0
"""Least distance of two shapes from each other and from the border, pixels."""
HOLE: Final = 0.55
"""Radius of a ring's hole, as a share of its radius."""


@dataclass(frozen=True)
class Thing:
    """One shape of a scene.

    Attributes:
        size: 'small' or 'large'.
        colour: name of its colour.
        shape: name of its shape.
        centre: x and y.
        radius: of the circle around it.
        tilt: radians.
    """

    size: str
    colour: str
    shape: str
    centre: tuple[float, float]
    radius: float
    tilt: float

    def outlines(self) -> list[np.ndarray]:
        """Outlines (K, 2); a second one is that of a hole."""
        turn = np.array(
            [[np.cos(self.tilt), np.sin(self.tilt)], [-np.sin(self.tilt), np.cos(self.tilt)]]
        )
        return [self.radius * part @ turn + self.centre for part in OUTLINES[self.shape]]


def _round(count: int, radius: float = 1.0, start: float = -math.pi / 2) -> np.ndarray:
    """Points (K, 2) evenly on a circle, the first at the top."""
    angle = start + np.arange(count) * 2 * math.pi / count
    return radius * np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _star() -> np.ndarray:
    return np.stack((_round(5), _round(5, 0.45, -math.pi / 2 + math.pi / 5)), 1).reshape(10, 2)


def _cross(arm: float = 0.32) -> np.ndarray:
    reach = math.sqrt(1 - arm**2)
    corner = np.array([(arm, -reach), (arm, -arm), (reach, -arm)])
    turns = [np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), number) for number in range(4)]
    return np.concatenate([corner @ turn for turn in turns])


OUTLINES: Final[dict[str, list[np.ndarray]]] = {
    'circle': [_round(32, 0.92)],
    'square': [_round(4, 1.0, -math.pi / 4)],
    'triangle': [_round(3)],
    'cross': [_cross()],
    'star': [_star()],
    'ring': [_round(32, 0.96), _round(32, 0.96 * HOLE)],
}
"""Outlines in a circle of radius 1."""


def paint(things: Sequence[Thing], side: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a scene.

    Args:
        things: what is in it.
        side: S of the picture.
        rng: decides ground, tints and noise.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    ground = rng.uniform(95, 145) + rng.uniform(-12, 12, 3)
    picture: np.ndarray = np.zeros((side, side, 3))
    coarse = rng.normal(0, 14, (6, 6, 1)) + rng.normal(0, 6, (6, 6, 3))
    fine = np.repeat(rng.normal(0, 7, (side // 4, side // 4, 1)), 3, axis=2)
    for texture in (ground + coarse, fine):
        picture = picture + cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)
    for thing in things:
        tint = np.array(COLOURS[thing.colour]) + rng.uniform(-16, 16, 3)
        _paint_thing(picture, thing, tint)
    picture += rng.normal(0, 6, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def _paint_thing(picture: np.ndarray, thing: Thing, tint: np.ndarray) -> None:
    corner = np.maximum(np.array(thing.centre) - thing.radius - 1, 0).astype(int)
    left, top = corner
    window = picture[top : top + 2 * int(thing.radius) + 4, left : left + 2 * int(thing.radius) + 4]
    height, width = window.shape[:2]
    canvas = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING), np.uint8)
    # pixel centres lie at half-integers of the continuous frame; fillPoly takes 16ths of a pixel
    outlines = [((part - corner) * SUPERSAMPLING - 0.5) * 16 for part in thing.outlines()]
    cv2.fillPoly(canvas, [np.rint(part).astype(np.int32) for part in outlines], [255], shift=4)
    cover = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    rows, columns = np.mgrid[:height, :width]
    # the light comes from above left
    shade = (sum(thing.centre - corner) - rows - columns)[..., None] * (9 / thing.radius)
    window += (tint + shade - window) * cover
