"""What can be said about a thing of a scene so that nothing else is meant, and no word is idle.

A set of things is an integer with a bit for each. Where something lies just about on a line, what
is said of it is neither surely true nor surely false; sentences keep clear of that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from .scenes import COLOURS, SHAPES, SIZES, Thing

CLEAR: Final = 0.05
"""A difference in position that is beyond doubt, as a share of the picture's side."""

# name -> axis (0 is x) and direction in which the coordinate grows towards it
PLACES: Final = {'left': (0, -1), 'right': (0, 1), 'top': (1, -1), 'bottom': (1, 1)}
PREPOSITIONS: Final = {'left': 'on', 'right': 'on', 'top': 'at', 'bottom': 'at'}
RELATIONS: Final = {'left': 'left of', 'right': 'right of', 'top': 'above', 'bottom': 'below'}
SAID: Final = (0.3, 0.75, 0.85)
"""How often a sentence that is drawn tells size, colour and shape."""
KINDS: Final = ('attribute', 'place', 'extreme', 'relation')

WORDS: Final = (
    *('the', 'thing', 'on', 'at', 'of', 'above', 'below'),
    *PLACES,
    *(f'{place}most' for place in PLACES),
    *SIZES,
    *COLOURS,
    *SHAPES,
)


class Phrase(NamedTuple):
    """What is said of a thing by itself; None is not said."""

    size: str | None
    colour: str | None
    shape: str | None

    def __str__(self) -> str:
        return ' '.join(word for word in (self.size, self.colour, self.shape or 'thing') if word)

    def reduced(self) -> Iterator['Phrase']:
        """The phrase without each of its words."""
        for field, word in self._asdict().items():
            if word:
                yield self._replace(**{field: None})


@dataclass(frozen=True)
class Sentence:
    """A phrase, and at most one of three ways to say where the thing is.

    Attributes:
        kind: one of :data:`KINDS`.
        phrase: of the thing.
        where: 'left', 'right', 'top' or 'bottom': the side of the picture, or of the landmark, or
            the extreme.
        landmark: phrase of the thing that a relation refers to.
    """

    kind: str
    phrase: Phrase
    where: str = ''
    landmark: Phrase = Phrase(None, None, None)

    def __str__(self) -> str:
        if self.kind == 'extreme':
            return f'the {self.where}most {self.phrase}'
        if self.kind == 'place':
            return f'the {self.phrase} {PREPOSITIONS[self.where]} the {self.where}'
        if self.kind == 'relation':
            return f'the {self.phrase} {RELATIONS[self.where]} the {self.landmark}'
        return f'the {self.phrase}'

    def reduced(self) -> Iterator['Sentence']:
        """The sentence without each of its words that could be left out."""
        for phrase in self.phrase.reduced():
            yield replace(self, phrase=phrase)
        for phrase in self.landmark.reduced():
            yield replace(self, landmark=phrase)
        if self.kind != 'attribute':
            yield Sentence('attribute', self.phrase)


class View:
    """A scene as sentences see it.

    Args:
        things: of the scene.
        side: of the picture, pixels.
    """

    def __init__(self, things: Sequence[Thing], side: int) -> None:
        self.things = things
        self.everything = (1 << len(things)) - 1
        self._named = {
            name: _bits([name in (t.size, t.colour, t.shape) for t in things])
            for name in (*SIZES, *COLOURS, *SHAPES)
        }
        middle = (side / 2, side / 2)
        # how far each thing lies towards every side, from the middle of the picture
        self._far = {
            place: [(thing.centre[axis] - middle[axis]) * sign for thing in things]
            for place, (axis, sign) in PLACES.items()
        }
        self._clear = CLEAR * side
        # place and landmark (None is the picture's middle) -> what lies there surely, and maybe
        self._beyond: dict[tuple[str, int | None], tuple[int, int]] = {}
        for place, far in self._far.items():
            for i, start in ((None, 0.0), *enumerate(far)):
                others = self.everything if i is None else self.everything & ~(1 << i)
                sure = _bits([each - start > self._clear for each in far])
                maybe = _bits([each - start > -self._clear for each in far])
                self._beyond[place, i] = sure & others, maybe & others

    def called(self, phrase: Phrase) -> int:
        """The things that a phrase fits."""
        found = self.everything
        for word in phrase:
            if word:
                found &= self._named[word]
        return found

    def meant(self, sentence: Sentence) -> tuple[int, int]:
        """The things of which a sentence is surely true, and those of which it may be.

        A relation holds if it does with any of the things that the landmark's phrase fits.
        """
        called = self.called(sentence.phrase)
        if sentence.kind == 'attribute':
            return called, called
        if sentence.kind == 'extreme':
            return self._furthest(called, self._far[sentence.where])
        starts: list[int | None] = [None]
        if sentence.kind == 'relation':
            starts = [*_members(self.called(sentence.landmark))]
        sure = maybe = 0
        for start in starts:
            beyond = self._beyond[sentence.where, start]
            sure, maybe = sure | beyond[0], maybe | beyond[1]
        return called & sure, called & maybe

    def _furthest(self, called: int, far: list[float]) -> tuple[int, int]:
        members = _members(called)
        most = max((far[i] for i in members), default=0.0)
        maybe = sum(1 << i for i in members if most - far[i] < self._clear)
        return (maybe if maybe.bit_count() == 1 else 0), maybe

    def fits(self, sentence: Sentence, index: int) -> bool:
        """Whether a sentence means one thing only, and would mean another without any word."""
        mine = 1 << index
        if sentence.kind == 'relation' and self.called(sentence.landmark).bit_count() != 1:
            return False
        if self.meant(sentence) != (mine, mine):
            return False
        return all(self.meant(less)[0] & ~mine for less in sentence.reduced())

    def guess(self, rng: np.random.Generator) -> tuple[int, Sentence]:
        """Draw a thing and a sentence that could be about it; whether it fits is to be seen."""
        index = int(rng.integers(len(self.things)))
        kind = KINDS[rng.integers(len(KINDS))]
        phrase = _phrase(self.things[index], rng)
        if kind == 'attribute':
            return index, Sentence(kind, phrase)
        place = tuple(PLACES)[rng.integers(len(PLACES))]
        if kind != 'relation':
            return index, Sentence(kind, phrase, place)
        landmark = self.things[int(rng.integers(len(self.things)))]
        return index, Sentence(kind, phrase, place, _phrase(landmark, rng))


def _phrase(thing: Thing, rng: np.random.Generator) -> Phrase:
    """Words that fit a thing: its colour and shape more often than its size."""
    size, colour, shape = (rng.random(3) < SAID).tolist()
    return Phrase(
        thing.size if size else None,
        thing.colour if colour else None,
        thing.shape if shape or not (size or colour) else None,
    )


def _bits(flags: Sequence[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


def _members(things: int) -> list[int]:
    return [i for i in range(things.bit_length()) if things >> i & 1]
