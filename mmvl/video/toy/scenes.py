"""Videos of the toy world: shapes that move in lanes, and how they are painted.

Two twins of one look move in contrary ways: each plays the other's motion backwards, or passes the
box on its other side. What a twin looks like and where it is in a frame tells nothing about which
of the two it is; what it does tells everything.

Coordinates are continuous pixels, x to the right, y down. Letters in shapes: T frames, H and W of
the frames.
"""

from collections.abc import Callable, Iterable
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
}
SHAPES: Final[dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    'circle': lambda u, v: np.hypot(u, v) <= 0.95,
    'square': lambda u, v: np.maximum(abs(u), abs(v)) <= 0.8,
    'triangle': lambda u, v: (v <= 0.75) & (abs(u) <= 0.56 * (v + 0.95)),
    'cross': lambda u, v: (
        (np.maximum(abs(u), abs(v)) <= 0.95) & (np.minimum(abs(u), abs(v)) <= 0.32)
    ),
}
"""Whether a point, in radii from the centre, is inside."""

LEFT, RIGHT = 'moves left', 'moves right'
STOPS, STARTS = 'stops', 'starts to move'
LEAVES, COMES = 'leaves the picture', 'comes into the picture'
BEHIND, BEFORE = 'passes behind the box', 'passes in front of the box'
STILL: Final = 'stands still'
PAIRS: Final = ((LEFT, RIGHT), (STOPS, STARTS), (LEAVES, COMES), (BEHIND, BEFORE))
"""Contrary motions; of the first three pairs each is the other backwards."""
MOTIONS: Final = tuple(motion for pair in PAIRS for motion in pair)

FRAMES: Final = 5
SIZE: Final = (48, 64)
"""H and W."""
LANES: Final = 3
RADIUS: Final = (5.4, 6.6)
BOX_HALF: Final = (6.0, 7.5)
"""Half of the box's width."""
SUPERSAMPLING: Final = 3
"""Points in a pixel along an axis."""


@dataclass
class Thing:
    """One shape of a video.

    Attributes:
        colour: name of its colour.
        shape: name of its shape.
        motion: what it does, one of :data:`MOTIONS` or :data:`STILL`.
        radius: of the circle around it.
        path: (T, 2) x and y of its centre.
    """

    colour: str
    shape: str
    motion: str
    radius: float
    path: np.ndarray

    @property
    def look(self) -> str:
        """Colour and shape."""
        return f'{self.colour} {self.shape}'


@dataclass
class Scene:
    """What a video shows.

    Attributes:
        things: two twins and another one, in any order.
        box: x of the left and the right side of a box as high as the frame, or None.
    """

    things: list[Thing]
    box: tuple[float, float] | None = None

    def ids(self) -> np.ndarray:
        """(T, H, W) uint8, the number of the thing that is seen from 1 on, 0 for none."""
        canvas: np.ndarray = np.zeros((FRAMES, *SIZE), np.uint8)
        for number, cover in self.layers():
            canvas[cover > 0.5] = number
        return canvas

    def layers(self) -> list[tuple[int, np.ndarray]]:
        """Number, 0 for the box, and cover (T, H, W) in 0-1 of what is in the scene, back first."""
        found = []
        for number, thing in enumerate(self.things, start=1):
            place = -1 if thing.motion == BEHIND else 1
            found.append((place, number, _cover(thing)))
        if self.box:
            x = np.arange(SIZE[1])
            left, right = self.box
            share = (np.minimum(x + 1, right) - np.maximum(x, left)).clip(0, 1)
            found.append((0, 0, np.broadcast_to(share, (FRAMES, *SIZE))))
        return [each[1:] for each in sorted(found, key=lambda each: each[:2])]


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw what a video shows: two twins, and another thing of another look.

    Args:
        rng: decides everything.
    """
    pair = PAIRS[rng.integers(len(PAIRS))]
    colour, shape = _draw(COLOURS, rng), _draw(SHAPES, rng)
    other = colour, shape
    while other == (colour, shape):
        other = _draw(COLOURS, rng), _draw(SHAPES, rng)
    box = None
    if BEHIND in pair:
        middle, half = SIZE[1] / 2 + rng.uniform(-4, 4), rng.uniform(*BOX_HALF)
        box = middle - half, middle + half
    idle = [STILL] if box else [STILL, STILL, *(m for p in PAIRS[:2] if p != pair for m in p)]
    looks = [(colour, shape, pair[0]), (colour, shape, pair[1]), (*other, _draw(idle, rng))]
    lanes = rng.permutation(LANES)
    radius = rng.uniform(*RADIUS)
    things = [
        Thing(*look, radius, _path(look[2], int(lane), radius, box, rng))
        for look, lane in zip(looks, lanes, strict=True)
    ]
    return Scene([things[i] for i in rng.permutation(len(things))], box)


def _draw(choices: Iterable[str], rng: np.random.Generator) -> str:
    names = list(choices)
    return names[rng.integers(len(names))]


def _path(
    motion: str,
    lane: int,
    radius: float,
    box: tuple[float, float] | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Centres (T, 2) of a thing in a lane."""
    height, width = SIZE
    time = np.arange(FRAMES)
    border = radius + 1
    if motion in (LEFT, RIGHT):
        step = rng.uniform(5, 10)
        x = rng.uniform(border, width - border - 4 * step) + step * time
        x = x if motion == RIGHT else x[::-1]
    elif motion in (STOPS, STARTS):
        way = rng.uniform(7, 12) * np.minimum(time, 2)
        x = rng.uniform(border, width - border - way[-1]) + way
        x = x if motion == STOPS else x[::-1]
        x = x if rng.random() < 0.5 else width - x
    elif motion in (LEAVES, COMES):
        step, gone = rng.uniform(7, 10), rng.integers(3, 5)
        x = width + radius + rng.uniform(0.5, 2) + step * (time - gone)
        x = x if motion == LEAVES else x[::-1]
        x = x if rng.random() < 0.5 else width - x
    elif box is not None and motion in (BEHIND, BEFORE):
        middle = sum(box) / 2
        step = rng.uniform(8, (min(middle, width - middle) - border) / 2)
        x = middle + rng.uniform(-1, 1) + step * (time - 2) * rng.choice([-1, 1])
    else:
        x = np.full(FRAMES, _free_place(border, box, rng))
    drift = rng.uniform(-0.5, 0.5)
    y = height * (lane + 0.5) / LANES + drift * (time - 2)
    return np.stack((x, y), 1)


def _free_place(border: float, box: tuple[float, float] | None, rng: np.random.Generator) -> float:
    """An x in the frame, and not at the box."""
    spans = [(border, SIZE[1] - border)]
    if box:
        spans = [(border, box[0] - border), (box[1] + border, SIZE[1] - border)]
    return rng.uniform(*spans[rng.integers(len(spans))])


def _cover(thing: Thing) -> np.ndarray:
    """(T, H, W) share in 0-1 of each pixel that a thing covers, were it alone."""
    height, width = SIZE
    fine = (np.arange(max(SIZE) * SUPERSAMPLING) + 0.5) / SUPERSAMPLING
    x, y = fine[: width * SUPERSAMPLING], fine[: height * SUPERSAMPLING]
    u = (x - thing.path[:, :1]) / thing.radius
    v = (y - thing.path[:, 1:]) / thing.radius
    inside = SHAPES[thing.shape](u[:, None], v[:, :, None])
    return inside.reshape(FRAMES, height, SUPERSAMPLING, width, SUPERSAMPLING).mean((2, 4))


def paint(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw a video.

    Args:
        scene: what it shows.
        rng: decides ground, tints and noise.

    Returns:
        (T, H, W, 3) uint8 RGB.
    """
    height, width = SIZE
    ground = rng.uniform(95, 145) + rng.uniform(-12, 12, 3)
    blotches = rng.normal(0, 12, (4, 5, 1)) + rng.normal(0, 5, (4, 5, 3))
    ground = ground + cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
    video = np.repeat(ground[None], FRAMES, axis=0)
    tints = {look: rng.uniform(-14, 14, 3) for look in dict.fromkeys(t.look for t in scene.things)}
    wood = np.array((105, 72, 45)) + rng.uniform(-10, 10, 3)
    for number, cover in scene.layers():
        tint = wood
        if number:
            thing = scene.things[number - 1]
            tint = np.array(COLOURS[thing.colour]) + tints[thing.look]
        video += (tint - video) * cover[..., None]
    video += rng.normal(0, 5, video.shape)
    return video.clip(0, 255).astype(np.uint8)
