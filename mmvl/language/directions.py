"""Words of direction in sentences that refer to something in an image."""

import re

DIRECTIONS = ('left', 'right', 'top', 'bottom', 'middle')
SWAPPED = {
    form(word): form(other)
    for word, other in (('left', 'right'), ('right', 'left'))
    for form in (str.lower, str.capitalize, str.upper)
}
_SIDES = re.compile('|'.join(SWAPPED))
_SIDE_WORDS = re.compile(rf'\b(?:{"|".join(SWAPPED)})\b')
_DIRECTION_WORDS = re.compile(rf'\b(?:{"|".join(DIRECTIONS)})\b')


def swap_left_right(text: str, words_only: bool = False) -> str:
    """Exchange 'left' and 'right' in one pass, as a mirrored image needs; twice changes nothing.

    Args:
        text: a sentence.
        words_only: exchange whole words only. The default exchanges the letters wherever they
            stand, so that 'bright' becomes 'bleft': this is what the published numbers of TransVG
            and VG-LAW were trained with.

    Source: TransVG (Deng et al. 2021) and VG-LAW (Su et al. 2023), released transforms.
    """
    return (_SIDE_WORDS if words_only else _SIDES).sub(lambda found: SWAPPED[found[0]], text)


def has_direction(text: str, words_only: bool = False) -> bool:
    """Whether a sentence tells a place in the image: left, right, top, bottom or middle.

    Args:
        text: a sentence.
        words_only: look for whole words only. The default finds the letters wherever they stand,
            so that 'bright' has a direction, as in the published code, which does not crop then.

    Source: TransVG (Deng et al. 2021) and VG-LAW (Su et al. 2023), released transforms.
    """
    lower = text.lower()
    if words_only:
        return _DIRECTION_WORDS.search(lower) is not None
    return any(word in lower for word in DIRECTIONS)
