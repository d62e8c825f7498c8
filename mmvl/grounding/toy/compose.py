"""Composing scenes so that there is something to say in which no word is idle."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from .scenes import COLOURS, GAP, HELD_OUT, SHAPES, SIZES, Pair, Thing
from .sentences import CLEAR, KINDS, PLACES, Phrase, Sentence, View

SPLITS: Final = ('train', 'val', 'testA', 'testB')
TRIES: Final = 120
"""Sentences that are drawn for a scene beside the one that it is made for; few fit."""
PLACINGS: Final = 30
"""Tries to find a free place for a thing."""
FAR: Final = 1.6 * CLEAR
"""Distance along an axis, as a share of the picture's side, that a thing is put from another."""

ALL: Final = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
SEEN: Final = tuple(pair for pair in ALL if pair not in HELD_OUT)

Said = list[tuple[int, Sentence]]


class Wish(NamedTuple):
    """A thing to be put into a scene; None leaves it open.

    Attributes:
        pair: colour and shape.
        size: 'small' or 'large'.
        span: where its centre is to lie, in 0-1 along the axis of the scene's place.
    """

    pair: Pair
    size: str | None = None
    span: tuple[float, float] = (0.0, 1.0)


Made = tuple[list[Wish], Sentence]


def draw_scene(split: str, side: int, rng: np.random.Generator) -> tuple[list[Thing], Said]:
    """Draw things, and what is said of them in a split.

    A scene is made for one sentence that names colour and shape; sentences of the other kinds come
    by chance, one of each at most.

    Args:
        split: one of :data:`SPLITS`.
        side: of the picture, pixels.
        rng: decides everything.

    Returns:
        The things, and pairs of the index of a thing and a sentence about it.
    """
    held_out, sided = split == 'testA', split == 'testB'
    mains, allowed = (sorted(HELD_OUT), ALL) if held_out else (SEEN, SEEN)
    kinds = [kind for kind in KINDS if not (sided and kind == 'attribute')]
    places = ('left', 'right') if sided else tuple(PLACES)
    # drawn once, or the kinds that seldom succeed would be rare; relations hardly come by chance
    kind = 'relation' if rng.random() < 0.25 else kinds[rng.integers(len(kinds))]
    while True:
        main, place = mains[rng.integers(len(mains))], places[rng.integers(len(places))]
        wishes, sentence = _Composer(main, allowed, place, rng).make(kind)
        things = _scatter(wishes, place, side, rng)
        view = View(things, side)
        if len(things) < len(wishes) or not view.fits(sentence, 0):
            continue
        said = {kind: (0, sentence)}
        for index, other in (view.guess(rng) for _ in range(TRIES)):
            if other.kind in said or (sided and other.where not in places):
                continue
            if held_out and (other.phrase.colour, other.phrase.shape) not in HELD_OUT:
                continue
            if view.fits(other, index):
                said[other.kind] = index, other
        # the order of the files must not tell what the first sentence is about
        order = rng.permutation(len(things)).tolist()
        return [things[i] for i in order], [(order.index(i), other) for i, other in said.values()]


class _Composer:
    """Wishes for a scene and the sentence about its first thing, one method for each kind.

    Along the axis of the place, 1 is at its border of the picture and 0 at the opposite one.

    Args:
        main: colour and shape of the first thing.
        allowed: pairs that may be shown beside it.
        where: place that the sentence names.
        rng: decides everything.
    """

    def __init__(
        self, main: Pair, allowed: tuple[Pair, ...], where: str, rng: np.random.Generator
    ) -> None:
        self.main, self.allowed, self.where, self.rng = main, allowed, where, rng
        self.phrase = Phrase(None, *main)
        self.near = self._near(main)

    def make(self, kind: str) -> Made:
        """Compose a sentence of one of the kinds, and a scene for it."""
        makers = {
            'attribute': self._attribute,
            'place': self._place,
            'extreme': self._extreme,
            'relation': self._relation,
        }
        return makers[kind]()

    def _attribute(self) -> Made:
        """Half of the time another thing has the same colour and shape, and the size decides."""
        wishes = [Wish(pair) for pair in (self.main, *self.near)]
        phrase = self.phrase
        if self.rng.random() < 0.5:
            size, other = self.rng.permutation(list(SIZES)).tolist()
            phrase = phrase._replace(size=size)
            wishes = [*(wish._replace(size=size) for wish in wishes), Wish(self.main, other)]
        return [*wishes, *self._others(3)], Sentence('attribute', phrase)

    def _place(self) -> Made:
        low, high = (0.0, 0.5 - FAR), (0.5 + FAR, 1.0)
        wishes = [*(Wish(pair, span=high) for pair in (self.main, *self.near))]
        wishes += [Wish(self.main, span=low), Wish(self._pick(self.near)), *self._others(2)]
        return wishes, Sentence('place', self.phrase, self.where)

    def _extreme(self) -> Made:
        middle = self.rng.uniform(0.3, 0.7)
        wishes = [Wish(self.main, span=(middle, middle))]
        wishes += [Wish(pair, span=(middle + FAR, 1.0)) for pair in self.near]
        wishes += [
            Wish(self.main, span=(0.0, middle - FAR)) for _ in range(self.rng.integers(1, 3))
        ]
        return [*wishes, *self._others(2)], Sentence('extreme', self.phrase, self.where)

    def _relation(self) -> Made:
        """The landmark's words are not idle either: what lacks one has the main pair beside it."""
        landmark = self._pick([each for each in self.allowed if each[1] != self.main[1]])
        low, middle = self.rng.uniform(0.2, 0.35), self.rng.uniform(0.45, 0.65)
        beyond, between, before = (middle + FAR, 1.0), (low + FAR, middle - FAR), (0.0, low)
        wishes = [Wish(pair, span=beyond) for pair in (self.main, *self.near)]
        wishes += [Wish(landmark, span=(middle, middle)), Wish(self.main, span=between)]
        phrase = Phrase(None, None, landmark[1])
        alike = self._near(landmark)
        if self.rng.random() < 0.5:
            phrase = Phrase(None, *landmark)
        else:
            alike = alike[:1]
        wishes += [Wish(pair, span=before) for pair in alike]
        return wishes, Sentence('relation', self.phrase, self.where, phrase)

    def _near(self, pair: Pair) -> list[Pair]:
        """A pair of the same colour, and one of the same shape."""
        return [
            self._pick([each for each in self.allowed if each != pair and each[i] == pair[i]])
            for i in range(2)
        ]

    def _others(self, most: int) -> list[Wish]:
        return [Wish(self._pick(self.allowed)) for _ in range(self.rng.integers(most + 1))]

    def _pick(self, pairs: Sequence[Pair]) -> Pair:
        return pairs[int(self.rng.integers(len(pairs)))]


def _scatter(
    wishes: Sequence[Wish], where: str, side: int, rng: np.random.Generator
) -> list[Thing]:
    """Things that do not touch, one for each wish until one finds no free place."""
    axis, sign = PLACES[where]
    things: list[Thing] = []
    for wish in wishes:
        size = wish.size or tuple(SIZES)[rng.integers(len(SIZES))]
        radius = side * rng.uniform(*SIZES[size])
        border = radius + GAP
        low, high = np.full(2, border), np.full(2, side - border)
        span = [share * side if sign > 0 else (1 - share) * side for share in wish.span]
        low[axis], high[axis] = np.clip(sorted(span), border, side - border)
        places = rng.uniform(low, high, (PLACINGS, 2))
        free = np.ones(PLACINGS, np.bool_)
        for other in things:
            free &= np.hypot(*(places - other.centre).T) > border + other.radius
        if not free.any():
            break
        x, y = places[free.argmax()].tolist()
        things.append(Thing(size, *wish.pair, (x, y), radius, rng.uniform(-0.2, 0.2)))
    return things
