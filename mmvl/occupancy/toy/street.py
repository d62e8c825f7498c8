"""What stands and moves in the street, and how one drives through it.

Frame of the street: x along it, y to the left, z up, the ground at z = 0, metres; time in seconds.
Letters in shapes: M boxes, P points.

The street carries what occupancy models live on. Oncoming traffic, and large vehicles at the kerb,
hide barriers and yards that were to be seen a moment before and cannot be guessed: only memory
knows of them. And every thing is as thick as its kind: who recognises its front knows what is
behind it. There are no pedestrians, two-wheelers and trees, of which models learn little in
minutes.
"""

from dataclasses import dataclass

import numpy as np

from mmvl.occupancy.datasets.classes import OCC3D

START = -20.0
"""x where the street begins; one drives from 0 on."""

ROAD, PAVEMENT, YARDS = 5.6, 7.2, 9.6
"""|y| up to which there is road, then pavement, then yards in front of the houses."""

PLOT = 4.8
"""Length of a plot of ground beyond the pavement along the street."""

LANE = 1.6
"""|y| of the middle of both lanes; one drives on the right."""

KERB = 4.4
"""|y| of the vehicles that are parked."""

SIZES = {
    'car': (4.0, 1.6, 1.6),
    'bus': (8.0, 2.4, 3.2),
    'truck': (5.6, 2.4, 2.4),
    'barrier': (3.2, 1.6, 1.6),
}
"""Length, width and height."""


@dataclass(frozen=True)
class Boxes:
    """M boxes on the ground at one moment.

    Attributes:
        centre: (M, 2) x and y.
        size: (M, 3) length, width, height.
        yaw: (M,) radians.
        label: (M,) int64, in Occ3D's numbers.
        velocity: (M, 2) m/s.
        shade: (M,), brightness of each.
    """

    centre: np.ndarray
    size: np.ndarray
    yaw: np.ndarray
    label: np.ndarray
    velocity: np.ndarray
    shade: np.ndarray

    def at(self, time: float) -> 'Boxes':
        """The boxes at another time, in seconds from now."""
        moved = self.centre + time * self.velocity
        return Boxes(moved, self.size, self.yaw, self.label, self.velocity, self.shade)

    def moving(self) -> 'Boxes':
        """Those that move."""
        return self.select((self.velocity != 0).any(1))

    def near(self, place: np.ndarray, reach: float) -> 'Boxes':
        """The boxes of which something may lie within so many metres of a place (3,)."""
        apart = np.linalg.norm(self.centre - place[:2], axis=1)
        return self.select(apart < reach + np.linalg.norm(self.size[:, :2], axis=1) / 2)

    def select(self, kept: np.ndarray) -> 'Boxes':
        """Some of the boxes, by mask or number."""
        return Boxes(**{name: value[kept] for name, value in vars(self).items()})

    def local(self, points: np.ndarray) -> np.ndarray:
        """Points (P, 3) in the frame of every box, (M, P, 3): its centre on the ground is zero."""
        ways = points[None, :, :2] - self.centre[:, None]
        cos, sin = np.cos(self.yaw)[:, None], np.sin(self.yaw)[:, None]
        x = cos * ways[..., 0] + sin * ways[..., 1]
        y = cos * ways[..., 1] - sin * ways[..., 0]
        return np.stack((x, y, np.broadcast_to(points[:, 2], x.shape)), -1)

    def contain(self, points: np.ndarray) -> np.ndarray:
        """Which box each of P points (P, 3) is in, the last of several; -1 for none."""
        local, half = self.local(points), self.size[:, None] / 2
        inside = (local[..., :2] >= -half[..., :2]) & (local[..., :2] < half[..., :2])
        height = (local[..., 2] >= 0) & (local[..., 2] < self.size[:, None, 2])
        number = np.where(inside.all(-1) & height, np.arange(len(half))[:, None], -1)
        return number.max(0, initial=-1)


@dataclass(frozen=True)
class Ground:
    """Road and pavement, the same everywhere, and plots beyond them.

    Attributes:
        plots: (2, N) int64, in Occ3D's numbers: what the plots at the right and at the left are,
            the first from :data:`START` on. Beyond the last one everything is like it.
    """

    plots: np.ndarray

    def classes(self, points: np.ndarray) -> np.ndarray:
        """Class of the ground under points (P, 2 or 3), (P,) int64."""
        x, y = points[:, 0], points[:, 1]
        number = np.floor((x - START) / PLOT).astype(np.int64).clip(0, self.plots.shape[1] - 1)
        plot = self.plots[(y > 0).astype(np.int64), number]
        aside = np.abs(y)
        paved = np.where(aside < PAVEMENT, OCC3D.index('sidewalk'), plot)
        return np.where(aside < ROAD, OCC3D.index('driveable_surface'), paved)


class _Street:
    """Collects boxes; everything is drawn from one generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.rows: list[tuple] = []

    def add(
        self,
        name: str,
        x: float,
        y: float,
        size: tuple[float, float, float] | None = None,
        speed: float = 0.0,
    ) -> None:
        label = OCC3D.index(name)
        shade = self.rng.uniform(0.8, 1.2)
        self.rows.append(((x, y), size or SIZES[name], 0.0, label, (speed, 0.0), shade))

    def build(self) -> Boxes:
        parts = [np.array(each) for each in zip(*self.rows, strict=True)]
        return Boxes(*parts)


def draw_street(length: float, speed: float, rng: np.random.Generator) -> tuple[Boxes, Ground]:
    """Draw the boxes at time 0, and the ground.

    Args:
        length: the street goes from 20 m behind zero to this far in front of it.
        speed: m/s of the ego vehicle, which starts at zero and drives into nobody.
        rng: everything is drawn from it.
    """
    street = _Street(rng)
    for side in (-1, 1):
        _houses(street, side, length)
        x = START + float(rng.uniform(0, 4))
        while x < length:
            kind = str(rng.choice(['bus', 'truck', 'car', ''], p=[0.15, 0.2, 0.15, 0.5]))
            stretch = SIZES[kind][0] if kind else 4.0
            if kind:
                street.add(kind, x + stretch / 2, side * KERB)
            _pavement(street, side, x, stretch)
            x += stretch + float(rng.uniform(2.4, 4.8))
    # both lanes: somebody ahead at about one's own speed, and oncoming traffic
    street.add('car', rng.uniform(7, 10), -LANE, speed=speed + rng.uniform(-0.2, 0.4))
    towards, x = -rng.uniform(4, 6), float(rng.uniform(-15, 0))
    while x < 3 * length:
        kind = str(rng.choice(['bus', 'truck', 'car'], p=[0.3, 0.4, 0.3]))
        street.add(kind, x + SIZES[kind][0] / 2, LANE, speed=towards)
        x += SIZES[kind][0] + float(rng.uniform(5, 12))
    # yards are paved here and there
    kinds = [OCC3D.index(name) for name in ('driveable_surface', 'terrain')]
    number = int(np.ceil((length - START) / PLOT))
    return street.build(), Ground(rng.choice(kinds, (2, number), p=[1 / 3, 2 / 3]))


def _houses(street: _Street, side: int, length: float) -> None:
    """A row of houses behind the yards, with gaps."""
    rng, x = street.rng, START
    while x < length:
        front, wide = rng.uniform(4, 9), rng.uniform(3.2, 4.8)
        if rng.random() < 0.6:
            size = (front, wide, rng.uniform(3.2, 5.6))
            street.add('manmade', x + front / 2, side * (YARDS + wide / 2), size)
        x += float(front + rng.uniform(0.8, 2.4))


def _pavement(street: _Street, side: int, x: float, stretch: float) -> None:
    """Up to two barriers where pavement and yards meet, beside or behind what is parked there."""
    rng = street.rng
    for place in np.linspace(x, x + stretch, 2, endpoint=False) + stretch / 4:
        if rng.random() < 0.6:
            y = side * rng.uniform(6.4, 8.0)
            street.add('barrier', float(place + rng.uniform(-0.4, 0.4)), y)


def ego_pose(time: float, speed: float, sway: float, phase: float) -> np.ndarray:
    """Pose (4, 4) of the ego vehicle in the street: in the right lane, weaving a little.

    Args:
        time: seconds.
        speed: m/s along the street.
        sway: amplitude across it, metres; the period is 24 m.
        phase: radians.
    """
    x = speed * time
    wave = 2 * np.pi / 24
    y = -LANE + sway * np.sin(wave * x + phase)
    yaw = np.arctan(sway * wave * np.cos(wave * x + phase))
    return pose_about_z(yaw, (x, y, 0.0))


def pose_about_z(yaw: float, translation: tuple[float, float, float]) -> np.ndarray:
    """Pose (4, 4) that turns about z and then moves."""
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = translation
    return pose
