"""What every picture needs: a canvas of readable size, a font, colours, a title bar."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_SHORT_SIDE = 640
MAX_LONG_SIDE = 2048

Color = tuple[int, int, int]

# Distinguishable with every common colour blindness; neighbours in the list differ most.
PALETTE: tuple[Color, ...] = (
    (213, 94, 0),
    (0, 114, 178),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
)
"""Qualitative RGB colours. Source: Okabe and Ito, Color Universal Design (2008)."""
# Between two panels, pixels.
GAP = 8


def fit_canvas(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Resize an image so that text on it can be read and the file stays handy.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        The image with its short side at least 640 pixels, unless that would bring the long side
        beyond 2048, and its long side at most 2048; and the factor it was scaled by.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or is empty.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f'image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}')
    height, width = image.shape[:2]
    scale = max(1.0, MIN_SHORT_SIDE / min(height, width))
    scale = min(scale, MAX_LONG_SIDE / max(height, width))
    if scale == 1.0:
        return image, scale
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)), scale


@lru_cache(maxsize=32)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib ships, at a size in pixels."""
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), size)


def luminance(color: Color) -> float:
    """Relative luminance, 0-1, of an RGB colour.

    Source: WCAG 2.1.
    """
    channels = np.array(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def text_color(background: Color) -> Color:
    """Black or white, whichever contrasts more with an RGB background.

    Source: contrast ratio of WCAG 2.1.
    """
    light = luminance(background) + 0.05
    return (0, 0, 0) if light / 0.05 >= 1.05 / light else (255, 255, 255)


def add_title(image: np.ndarray, title: str) -> np.ndarray:
    """Put a thin white bar with a title above an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        title: one line.

    Returns:
        (H + bar, W, 3) uint8 RGB; the bar is a twenty-fifth of the shorter side, at least 16
        pixels.
    """
    height, width = image.shape[:2]
    bar = max(16, min(height, width) // 25)
    font = load_font(int(bar * 0.6))
    canvas = Image.new('RGB', (width, height + bar), (255, 255, 255))
    canvas.paste(Image.fromarray(image), (0, bar))
    ImageDraw.Draw(canvas).text((bar // 4, bar / 2), title, (40, 40, 40), font, anchor='lm')
    return np.asarray(canvas)


def beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Panels (H, W, 3) uint8 of one height, left to right with a white gap."""
    gap = np.full((len(panels[0]), GAP, 3), 255, np.uint8)
    spaced = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(spaced[1:], axis=1)


def save_picture(picture: np.ndarray, path: str | PurePath) -> None:
    """Write a picture; the ending of the name decides the format, its folder is made.

    Args:
        picture: (H, W, 3) uint8 RGB.
        path: the file.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=92)
