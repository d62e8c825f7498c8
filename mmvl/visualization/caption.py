"""Sentences under pictures."""

import textwrap
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .canvas import load_font

PAPER: Final = (255, 255, 255)
INK: Final = (30, 30, 30)
MAX_LINES: Final = 4
MAX_CHARACTERS: Final = 2000


def caption_bar(text: str, width: int, size: int = 16) -> np.ndarray:
    """Print a sentence, over several lines where it is long.

    Args:
        text: any text; what cannot be printed is shown as a box or a question mark, and what does
            not fit on four lines is cut.
        width: of the bar in pixels.
        size: of the letters in pixels.

    Returns:
        (bar, width, 3) uint8 RGB.
    """
    font = load_font(size)
    margin, line_height = size // 2, round(1.3 * size)
    line = ' '.join(text[:MAX_CHARACTERS].split())
    line = ''.join(each if each.isprintable() else '\N{REPLACEMENT CHARACTER}' for each in line)
    lines = _wrapped(line, font, width - 2 * margin)
    bar = Image.new('RGB', (width, 2 * margin + len(lines) * line_height), PAPER)
    pen = ImageDraw.Draw(bar)
    for number, each in enumerate(lines):
        pen.text((margin, margin + number * line_height), each, INK, font)
    return np.asarray(bar)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """At most four lines that are no wider than a number of pixels."""
    characters = max(1, int(width / font.getlength('n') * 1.2))
    while True:
        lines = textwrap.wrap(text, characters, max_lines=MAX_LINES, placeholder='…')
        if characters == 1 or all(font.getlength(line) <= width for line in lines):
            return lines or ['']
        characters = max(1, int(characters * 0.93))
