import numpy as np
import pytest

from mmvl.language.directions import has_direction, swap_left_right


@pytest.mark.parametrize(
    ('text', 'swapped', 'by_words'),
    [
        ('left of the right lamp', 'right of the left lamp', None),
        ('right right left', 'left left right', None),
        (
            'leftmost man, right-hand side',
            'rightmost man, left-hand side',
            'leftmost man, left-hand',
        ),
        ('Left lamp, RIGHT', 'Right lamp, LEFT', None),
        ('bright red upright thing', 'bleft red upleft thing', 'bright red upright thing'),
        ('the red thing', 'the red thing', None),
        ('', '', None),
        ('деревоright 左 🚲 left', 'деревоleft 左 🚲 right', 'деревоright 左 🚲 right'),
    ],
)
def test_swap(text, swapped, by_words):
    assert swap_left_right(text) == swapped
    assert swap_left_right(text, words_only=True).startswith(
        swapped if by_words is None else by_words
    )


@pytest.mark.parametrize('words_only', [False, True])
def test_twice_changes_nothing(words_only):
    rng = np.random.default_rng(0)
    pieces = ['left', 'right', 'Left', 'RIGHT', 'l', 'eft', 'ri', 'ght', 'b', 't', ' ', ' ', ', ']
    changed = 0
    for _ in range(500):
        text = ''.join(rng.choice(pieces, rng.integers(1, 12)))
        once = swap_left_right(text, words_only)
        changed += once != text
        assert swap_left_right(once, words_only) == text
        assert len(once) - len(text) == (once.lower().count('right') - text.lower().count('right'))
    assert changed > 100


@pytest.mark.parametrize(
    ('text', 'anywhere', 'as_word'),
    [
        ('man on the left', True, True),
        ('Right one', True, True),
        ('top, please', True, True),
        ('at the bottom', True, True),
        ('in the middle', True, True),
        ('bright lamp', True, False),
        ('laptop', True, False),
        ('leftover', True, False),
        ('man above the dog', False, False),
        ('', False, False),
    ],
)
def test_has_direction(text, anywhere, as_word):
    assert has_direction(text) is anywhere
    assert has_direction(text, words_only=True) is as_word
