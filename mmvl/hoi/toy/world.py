"""The toy world: small drawn scenes in HICO-DET's own files and ids.

Every object allows several verbs and every verb looks alike on all its objects, so the picture
decides the verb, the object's class does not, and a combination that was never labelled can be
told from its parts. Letters in shapes: N boxes, M triplets.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mmvl.hoi.vocabulary import COCO_IDS, HOI_INDEX, NO_INTERACTION, OBJECTS, VALID, VERBS

from .drawing import (
    FOREARM,
    LEG,
    SHOULDER,
    UPPER_ARM,
    Figure,
    Pose,
    background,
    extent,
    moved,
    paint,
    person,
    tinted,
)
from .drawing import OBJECTS as SHAPES

SIZE: Final = 128
"""Height and width of a picture, pixels."""
MARGIN: Final = 2.0
GAP: Final = 6.0
"""Least distance between two groups, pixels."""
MIN_SCALE: Final = 0.75
"""A second group joins a scene only when everything fits at this scale."""
FLAT: Final = 20.0
"""Objects lower than this are stood on, not straddled, by who rides them."""

POSES: Final[dict[str, Pose]] = {
    'carry': Pose(arms=((142, 198), (-142, -198))),
    'hold': Pose(arms=((84, 86), (-28, -10))),
    'hug': Pose(lean=18, arms=((88, 100), (48, 78))),
    'jump': Pose(lean=6, arms=((140, 150), (-140, -150)), legs=((70, 5), (-45, -100))),
    'lie_on': Pose(lean=-90, arms=((100, 92), (100, 92)), legs=((91, 90), (88, 90))),
    'no_interaction': Pose(),
    'ride': Pose(lean=32, arms=((78, 88), (66, 80)), legs=((32, 0), (-22, -28))),
    'sit_on': Pose(lean=-6, arms=((30, 62), (24, 56)), legs=((92, 4), (84, -4))),
    'stand_on': Pose(arms=((52, 48), (-52, -48)), legs=((7, 2), (-7, -2))),
    'stand_under': Pose(),
}
"""The verbs of the toy world and what a person does for each."""

_VERB_IDS = [VERBS.index(name) for name in POSES]
_OBJECT_IDS = [OBJECTS.index(name) for name in SHAPES]

TOY_HOIS: Final[tuple[int, ...]] = tuple(
    sorted(int(HOI_INDEX[v, o]) for v in _VERB_IDS for o in _OBJECT_IDS if VALID[v, o])
)
"""All HOI ids (zero-based) of the toy world."""


def _hois(verb: str, *objects: str) -> list[int]:
    return [int(HOI_INDEX[VERBS.index(verb), OBJECTS.index(name)]) for name in objects]


TOY_UC: Final[tuple[int, ...]] = tuple(
    sorted(
        _hois('carry', 'bicycle', 'skateboard', 'suitcase')
        + _hois('hold', 'horse', 'surfboard', 'chair', 'suitcase')
        + _hois('hug', 'elephant')
        + _hois('jump', 'horse', 'surfboard')
        + _hois('lie_on', 'chair')
        + _hois('ride', 'elephant', 'skateboard', 'surfboard')
        + _hois('sit_on', 'bicycle', 'skateboard', 'surfboard')
        + _hois('stand_on', 'skateboard')
    )
)
"""Held-out combinations; each of their verbs and objects is seen in other combinations.

Half of what can be done: with fewer held out, verbs keep so many objects that a model without a
teacher infers the rest, which it cannot do on photographs.
"""

TOY_UA: Final[tuple[int, ...]] = tuple(
    sorted(
        _hois('ride', 'bicycle', 'horse', 'elephant', 'skateboard', 'surfboard')
        + _hois('hug', 'horse', 'elephant', 'suitcase')
    )
)
"""All combinations of the held-out verbs ride and hug.

They touch their object, as other verbs do: the interactive score can know that something is going
on without knowing what, which is what EoID relies on.
"""


@dataclass(frozen=True)
class Scene:
    """One picture and its full annotation: every person with every object.

    Attributes:
        image: (128, 128, 3) uint8 RGB.
        boxes: (N, 4) int64 xyxy pixels.
        labels: (N,) int64 zero-based COCO-80.
        hois: (M, 3) int64 subject index, object index, verb.
    """

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    hois: np.ndarray


@dataclass
class _Actor:
    label: int
    figure: Figure


def _object(name: str, rng: np.random.Generator) -> Figure:
    figure = SHAPES[name][0]()
    return moved(tinted(figure, rng.uniform(-14, 14, 3)), scale=rng.uniform(0.93, 1.07))


def _person(pose: Pose, pelvis: tuple[float, float], rng: np.random.Generator) -> Figure:
    shake = rng.uniform(-6, 6, 7)
    (a, b), (c, d) = pose.arms
    (e, f), (g, h) = pose.legs
    arms = (a + shake[0], b + shake[0]), (c + shake[1], d + shake[1])
    legs = (e + shake[2] / 2, f + shake[3] / 2), (g + shake[4] / 2, h + shake[5] / 2)
    shaken = Pose(pose.lean + shake[6], arms, legs)
    shirt = np.array([(240, 240, 240), (0, 150, 160), (60, 60, 70), (200, 170, 120)])[
        rng.integers(4)
    ]
    skin = np.array([(235, 190, 160), (190, 135, 95), (130, 85, 60)])[rng.integers(3)]
    return person(shaken, pelvis, tuple(shirt.tolist()), tuple(skin.tolist()))


def _pelvis(verb: str, seat: float) -> tuple[float, float]:
    """Where the hips are, for an object that stands at x = 0 and carries at a height."""
    height = {
        'ride': seat + (LEG - 7 if seat < FLAT else 2),
        'sit_on': seat + 4,
        'stand_on': seat + LEG + 1,
        'lie_on': seat + 6,
        'jump': seat + LEG + 12,
    }.get(verb, LEG + 2)
    return (0.0, -height)


def _interaction(verb: str, name: str, rng: np.random.Generator) -> list[_Actor]:
    """A person and an object, drawn about the origin, the object at the back."""
    thing = _object(name, rng)
    flip = rng.random() < 0.5
    somebody = _person(POSES[verb], _pelvis(verb, SHAPES[name][1]), rng)
    left, top, right, _ = extent(thing)
    reach = UPPER_ARM + FOREARM
    if verb == 'carry':
        thing = moved(thing, -(left + right) / 2, -(SHOULDER + reach - 4))
    elif verb == 'stand_under':
        thing = moved(thing, -(left + right) / 2, -(SHOULDER + 26))
    elif verb == 'hold':
        lift = max(0.0, SHOULDER - 6 + 0.85 * top)
        thing = moved(thing, reach - 4 - left, -lift)
    elif verb == 'hug':
        thing = moved(thing, 2 - left)
    elif verb == 'no_interaction':
        gap = rng.uniform(20, 34)
        sides = (-right - gap, gap - left)
        thing = moved(thing, sides[rng.integers(2)])
    elif name == 'chair' and verb == 'lie_on':
        thing = moved(thing, 6)
    actors = [_Actor(OBJECTS.index(name), thing), _Actor(0, somebody)]
    for actor in actors:
        actor.figure = moved(actor.figure, flip=flip)
    return actors


def _span(actors: list[_Actor]) -> np.ndarray:
    return extent([stroke for actor in actors for stroke in actor.figure])


def _extra(rng: np.random.Generator, taken: int) -> list[_Actor]:
    """Somebody or something that takes no part."""
    if rng.random() < 0.5:
        return [_Actor(0, _person(POSES['no_interaction'], _pelvis('no_interaction', 0), rng))]
    names = [name for name in SHAPES if OBJECTS.index(name) != taken]
    name = names[rng.integers(len(names))]
    return [_Actor(OBJECTS.index(name), moved(_object(name, rng), flip=rng.random() < 0.5))]


def _arrange(groups: list[list[_Actor]], scale: float, rng: np.random.Generator) -> None:
    """Put groups side by side, in random order, with random gaps and floor heights."""
    spans = [_span(group) * scale for group in groups]
    widths = np.array([span[2] - span[0] for span in spans])
    free = SIZE - 2 * MARGIN - widths.sum() - GAP * (len(groups) - 1)
    gaps = rng.dirichlet(np.ones(len(groups) + 1)) * free
    cursor = MARGIN
    for i, gap in zip(rng.permutation(len(groups)), gaps[:-1], strict=True):
        cursor += gap
        span = spans[i]
        lowest = SIZE - MARGIN - span[3]
        slack = max(0.0, min(22.0, lowest - MARGIN + span[1]))
        dy = lowest - rng.uniform(0, slack)
        for actor in groups[i]:
            actor.figure = moved(actor.figure, cursor - span[0], dy, scale)
        cursor += widths[i] + GAP


def _largest_scale(groups: list[list[_Actor]]) -> float:
    """The scale at which groups, side by side, just fit into the picture."""
    spans = np.stack([_span(group) for group in groups])
    room = SIZE - 2 * MARGIN
    width = (spans[:, 2] - spans[:, 0]).sum()
    height = (spans[:, 3] - spans[:, 1]).max()
    return float(min((room - GAP * (len(groups) - 1)) / width, room / height))


def draw_scene(hoi: tuple[int, int], rng: np.random.Generator) -> Scene:
    """Draw a scene about one interaction, perhaps with a second one or a bystander.

    Args:
        hoi: verb and object, zero-based, of the toy world.
        rng: decides everything else.

    Returns:
        The picture with its annotation.
    """
    verb, label = hoi
    groups = [_interaction(VERBS[verb], OBJECTS[label], rng)]
    verbs = [verb]
    kind = rng.choice(3, p=(0.45, 0.3, 0.25))
    for _ in range(6 if kind else 0):
        if kind == 1:
            second = int(rng.choice(_VERB_IDS)), int(rng.choice(_OBJECT_IDS))
            if not VALID[second]:
                continue
            group = _interaction(VERBS[second[0]], OBJECTS[second[1]], rng)
        else:
            group = _extra(rng, label)
        if _largest_scale([*groups, group]) >= MIN_SCALE:
            groups.append(group)
            verbs.append(second[0] if kind == 1 else NO_INTERACTION)
            break
    _arrange(groups, min(rng.uniform(0.85, 1.1), _largest_scale(groups)), rng)
    actors = [(actor, i) for i, group in enumerate(groups) for actor in group]
    image = paint(background(SIZE, SIZE, rng), [actor.figure for actor, _ in actors], rng)
    return _annotate(image, actors, verbs, rng)


def _annotate(
    image: np.ndarray, actors: list[tuple[_Actor, int]], verbs: list[int], rng: np.random.Generator
) -> Scene:
    actors = [actors[i] for i in rng.permutation(len(actors))]
    raw = np.stack([extent(actor.figure) for actor, _ in actors])
    boxes = np.concatenate((np.floor(raw[:, :2]), np.ceil(raw[:, 2:])), axis=1)
    labels = np.array([actor.label for actor, _ in actors], dtype=np.int64)
    group = np.array([i for _, i in actors])
    subject, thing = (
        grid.ravel()
        for grid in np.meshgrid(
            np.flatnonzero(labels == 0), np.flatnonzero(labels != 0), indexing='ij'
        )
    )
    together = group[subject] == group[thing]
    verb = np.where(together, np.array(verbs)[group[subject]], NO_INTERACTION)
    return Scene(
        image,
        boxes.clip(0, SIZE).astype(np.int64),
        labels,
        np.stack((subject, thing, verb), axis=1).astype(np.int64),
    )


def scenes(num: int, seed: int, stream: int) -> Iterator[Scene]:
    """Yield scenes that go round all toy interactions in random order.

    Args:
        num: how many.
        seed: seed of the world.
        stream: which part of it: 0 training, 1 test, 2 the captioned pictures of the teacher.
    """
    verbs = {int(HOI_INDEX[v, o]): (v, o) for v in _VERB_IDS for o in _OBJECT_IDS if VALID[v, o]}
    order = np.random.default_rng((seed, stream))
    rounds = -(-num // len(TOY_HOIS))
    ids = np.concatenate([order.permutation(TOY_HOIS) for _ in range(rounds)])[:num]
    for index, hoi in enumerate(ids):
        yield draw_scene(verbs[int(hoi)], np.random.default_rng((seed, stream, index)))


def write_world(
    folder: str | Path, seed: int = 0, num_train: int = 1200, num_test: int = 300
) -> None:
    """Write a world in the layout and the files of HICO-DET.

    Args:
        folder: gets ``images/train2015``, ``images/test2015`` and ``annotations`` with
            ``trainval_hico.json``, ``test_hico.json`` and ``corre_hico.npy``.
        seed: same seed, same bytes.
        num_train: pictures to train on.
        num_test: pictures to test on.
    """
    folder = Path(folder)
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    parts = (('train', 'trainval', num_train, 0), ('test', 'test', num_test, 1))
    for part, name, num, stream in parts:
        images = folder / 'images' / f'{part}2015'
        images.mkdir(parents=True, exist_ok=True)
        entries = []
        for index, scene in enumerate(scenes(num, seed, stream), start=1):
            file_name = f'HICO_{part}2015_{index:08d}.jpg'
            bgr = scene.image[..., ::-1]
            cv2.imwrite(str(images / file_name), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
            entries.append(_entry(scene, file_name, index))
        (folder / 'annotations' / f'{name}_hico.json').write_text(json.dumps(entries))
    np.save(folder / 'annotations' / 'corre_hico.npy', VALID.astype(np.float64))


def _entry(scene: Scene, file_name: str, index: int) -> dict:
    """One image in the form of QPIC's files, whose ids all start at 1."""
    labels = scene.labels
    return {
        'file_name': file_name,
        'img_id': index,
        'annotations': [
            {'bbox': box, 'category_id': int(COCO_IDS[label])}
            for box, label in zip(scene.boxes.tolist(), labels, strict=True)
        ],
        'hoi_annotation': [
            {
                'subject_id': subject,
                'object_id': thing,
                'category_id': verb + 1,
                'hoi_category_id': int(HOI_INDEX[verb, labels[thing]]) + 1,
            }
            for subject, thing, verb in scene.hois.tolist()
        ],
    }
