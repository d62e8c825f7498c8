"""Pictures of subject-object pairs.

Letters in shapes: H, W height and width of the image, K triplets, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from mmvl.structures import pairwise_iou

from .canvas import PALETTE, Color, fit_canvas, load_font, luminance, text_color
from .layout import place_labels

# Triplets whose subjects and whose objects overlap this much show the same pair, as in the usual
# protocol for calling a prediction correct.
SAME_PAIR_IOU = 0.5
# A box that lies on an earlier one is drawn a line width outside it, so that both can be seen.
SAME_BOX_IOU = 0.85
# Lines are drawn at twice the size and reduced: Pillow does not smooth them.
SMOOTH = 2
MIN_FONT_SIZE = 9


@dataclass
class Pair:
    """A subject and an object with everything that is said about them.

    Attributes:
        subject_box: (4,) xyxy.
        object_box: (4,) xyxy, same frame.
        lines: lines of the label, best first.
    """

    subject_box: np.ndarray
    object_box: np.ndarray
    lines: list[str]


def group_triplets(
    subject_boxes: np.ndarray,
    object_boxes: np.ndarray,
    texts: Sequence[str],
    scores: np.ndarray | None = None,
    score_threshold: float = 0.1,
    top_k: int = 5,
    max_lines: int = 3,
) -> list[Pair]:
    """Gather triplets that show the same pair, and keep the best pairs.

    A triplet joins the best pair whose subject and object it both overlaps with an IoU of at least
    0.5; the pair keeps the boxes of its best triplet. A text that a pair already has is not
    repeated.

    Args:
        subject_boxes: (K, 4) xyxy pixels.
        object_boxes: (K, 4), same frame.
        texts: K texts, such as "riding bicycle".
        scores: (K,) in 0-1; they order the triplets and end their lines. None for an annotation:
            order as given, no score in the line.
        score_threshold: triplets below it are left out.
        top_k: pairs that are kept.
        max_lines: lines that a pair keeps.

    Returns:
        At most ``top_k`` pairs, best first.

    Raises:
        ValueError: the arguments have different lengths.
    """
    columns = [subject_boxes, object_boxes, texts, *([] if scores is None else [scores])]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f'subject boxes, object boxes, texts, scores: lengths differ, {lengths}')
    order: np.ndarray = np.arange(len(texts))
    if scores is not None:
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] >= score_threshold]
    same = _same(subject_boxes, SAME_PAIR_IOU) & _same(object_boxes, SAME_PAIR_IOU)
    pairs: dict[int, Pair] = {}
    said: dict[int, set[str]] = {}
    for i in order.tolist():
        leader = next((j for j in pairs if same[i, j]), i)
        if leader == i:
            pairs[i] = Pair(np.asarray(subject_boxes[i]), np.asarray(object_boxes[i]), [])
        known = said.setdefault(leader, set())
        if texts[i] not in known and len(known) < max_lines:
            known.add(texts[i])
            score = '' if scores is None else f' {scores[i]:.2f}'
            pairs[leader].lines.append(f'{texts[i]}{score}')
    return list(pairs.values())[:top_k]


def draw_pairs(
    image: np.ndarray,
    subject_boxes: np.ndarray,
    object_boxes: np.ndarray,
    texts: Sequence[str],
    scores: np.ndarray | None = None,
    score_threshold: float = 0.1,
    top_k: int = 5,
    max_lines: int = 3,
) -> np.ndarray:
    """Draw subject-object pairs on an image.

    Every pair has a colour, one of seven: the subject's box is solid, the object's dashed, a line
    joins their centres, and one label lists what is said about the pair. Labels stay inside the
    image and off each other; one that had to move far has a thin line to its pair. On a crowded
    image the font shrinks; a label for which nothing is free even then is left out.

    Args:
        image: (H, W, 3) uint8 RGB.
        subject_boxes: (K, 4) xyxy pixels of the image; parts outside it are cut off.
        object_boxes: (K, 4), same frame.
        texts: K texts, see :func:`group_triplets`.
        scores: (K,) in 0-1, or None for an annotation.
        score_threshold: triplets below it are left out.
        top_k: pairs that are drawn.
        max_lines: lines of a label.

    Returns:
        uint8 RGB picture, resized by :func:`fit_canvas`.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or the triplets have different lengths.
    """
    pairs = group_triplets(
        subject_boxes, object_boxes, texts, scores, score_threshold, top_k, max_lines
    )
    canvas, scale = fit_canvas(image)
    if not pairs:
        return canvas.copy()
    size = np.array([canvas.shape[1], canvas.shape[0]] * 2)
    boxes = np.stack([(pair.subject_box, pair.object_box) for pair in pairs]) * scale
    boxes = boxes.clip(0, size - 1)
    width = max(2.0, min(canvas.shape[:2]) / 260)
    colors = [PALETTE[i % len(PALETTE)] for i in range(len(pairs))]
    font, rects = _fit_labels([pair.lines for pair in pairs], boxes, canvas.shape[:2])

    labels = [
        (pair.lines, *rest)
        for pair, *rest in zip(pairs, boxes, rects, colors, strict=True)
        if not np.isnan(rest[1][0])
    ]
    sheet = _Sheet(canvas, width)
    # The best pair comes last, on top of the others; labels on top of all lines.
    spread = _spread(boxes, 1.5 * width)
    for (subject, object_), color in zip(spread[::-1], colors[::-1], strict=True):
        sheet.pair(subject, object_, color)
    for _, pair, rect, color in labels:
        sheet.leader(pair, rect, color)
    for _, _, rect, color in labels:
        sheet.plate(rect, color)
    picture = sheet.flatten()
    for lines, _, rect, color in labels:
        _write(picture, lines, rect, text_color(color), font)
    return np.asarray(picture)


class _Sheet:
    """A transparent sheet over the canvas on which lines are drawn at twice the size."""

    def __init__(self, canvas: np.ndarray, width: float) -> None:
        self._canvas = Image.fromarray(canvas).convert('RGBA')
        size = SMOOTH * self._canvas.width, SMOOTH * self._canvas.height
        self._layer = Image.new('RGBA', size)
        self._pen = ImageDraw.Draw(self._layer)
        self._width = width

    def pair(self, subject: np.ndarray, object_: np.ndarray, color: Color) -> None:
        """Two boxes (4,) xyxy and the line between their centres."""
        ends = np.stack((subject, object_)).reshape(2, 2, 2).mean(axis=1)
        self._strokes(ends[None], color, self._width * 0.6)
        self._strokes(_outline(subject), color, self._width)
        self._strokes(_dashes(object_, 5 * self._width), color, self._width * 0.8)
        for center in ends:
            self._dot(center, self._width * 1.6, color)

    def leader(self, pair: np.ndarray, rect: np.ndarray, color: Color) -> None:
        """A thin line from a label (4,) to the nearer box of a pair (2, 4), if it is away."""
        middle = (rect[:2] + rect[2:]) / 2
        targets = np.clip(middle, pair[:, :2], pair[:, 2:])
        starts = np.clip(targets, rect[:2], rect[2:])
        lengths = np.linalg.norm(targets - starts, axis=1)
        nearest = lengths.argmin()
        if lengths[nearest] > 2 * self._width:
            line = np.stack((starts[nearest], targets[nearest]))
            self._strokes(line[None], color, self._width * 0.6)
            self._dot(targets[nearest], self._width, color)

    def plate(self, rect: np.ndarray, color: Color) -> None:
        """The background of a label."""
        box = tuple(rect * SMOOTH)
        radius = SMOOTH * self._width * 1.5
        self._pen.rounded_rectangle(box, radius, (*color, 235), (255, 255, 255, 200), SMOOTH)

    def flatten(self) -> Image.Image:
        """The canvas with the sheet on it."""
        layer = self._layer.resize(self._canvas.size, Image.Resampling.BOX)
        return Image.alpha_composite(self._canvas, layer).convert('RGB')

    def _strokes(self, lines: np.ndarray, color: Color, width: float) -> None:
        # The rim keeps a line visible on a background of its own colour or brightness.
        rim = (255, 255, 255, 190) if luminance(color) < 0.35 else (0, 0, 0, 110)
        for paint, thick in ((rim, width + 2), ((*color, 255), width)):
            for line in lines * SMOOTH:
                self._pen.line([tuple(point) for point in line], paint, round(thick * SMOOTH))

    def _dot(self, center: np.ndarray, radius: float, color: Color) -> None:
        low, high = (center - radius) * SMOOTH, (center + radius) * SMOOTH
        self._pen.ellipse((*low, *high), (*color, 255), (255, 255, 255, 220), SMOOTH)


def _same(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """(K, K) bool, true where two boxes (K, 4) overlap with at least this IoU."""
    tensor = torch.from_numpy(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
    return (pairwise_iou(tensor, tensor) >= threshold).numpy()


def _spread(boxes: np.ndarray, step: float) -> np.ndarray:
    """Grow boxes (P, 2, 4) that lie on boxes before them, one ``step`` for each of those."""
    flat = boxes.reshape(-1, 4)
    before = np.tril(_same(flat, SAME_BOX_IOU), k=-1).sum(axis=1)
    return (flat + before[:, None] * step * np.array([-1, -1, 1, 1])).reshape(boxes.shape)


def _outline(box: np.ndarray) -> np.ndarray:
    """The outline (1, 6, 2) of a box (4,); it runs past its start so that the corner is closed."""
    x1, y1, x2, y2 = box
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1), (x2, y1)]
    return np.array([corners])


def _dashes(box: np.ndarray, length: float) -> np.ndarray:
    """Dashes (D, 2, 2) along the sides of a box (4,), about ``length`` long, gaps half of that."""
    corners = _outline(box)[0, :5]
    dashes = []
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        side = float(np.abs(end - start).sum())
        count = max(1, round(side / (1.5 * length)))
        # A side begins and ends with a dash: count dashes and count - 1 gaps of half a dash.
        unit = 1 / (1.5 * count - 0.5)
        begins = np.arange(count) * 1.5 * unit
        stops = np.stack((begins, begins + unit), axis=1)
        dashes.append(start + stops[:, :, None] * (end - start))
    return np.concatenate(dashes)


def _padding(font: ImageFont.FreeTypeFont) -> int:
    return max(2, round(font.size / 3))


def _spacing(font: ImageFont.FreeTypeFont) -> int:
    return round(font.size / 4)


def _write(
    picture: Image.Image,
    lines: list[str],
    rect: np.ndarray,
    ink: Color,
    font: ImageFont.FreeTypeFont,
) -> None:
    corner = tuple(rect[:2] + _padding(font))
    pen = ImageDraw.Draw(picture)
    pen.multiline_text(corner, '\n'.join(lines), ink, font, spacing=_spacing(font))


def _fit_labels(
    labels: list[list[str]], boxes: np.ndarray, shape: tuple[int, int]
) -> tuple[ImageFont.FreeTypeFont, np.ndarray]:
    """Font and rectangles (P, 4) of labels; the font shrinks until all labels have a place."""
    height, width = shape
    subjects, objects = boxes[:, 0], boxes[:, 1]
    heads = subjects.copy()
    heads[:, 3] = heads[:, 1] + (heads[:, 3] - heads[:, 1]) / 4
    size = max(MIN_FONT_SIZE, round(min(height, width) / 36))
    while True:
        font = load_font(size)
        sizes = [_label_size(lines, font) for lines in labels]
        wishes = [_wishes(pair, label) for pair, label in zip(boxes, sizes, strict=True)]
        rects = place_labels(sizes, wishes, (width, height), np.concatenate((heads, objects)))
        if size <= MIN_FONT_SIZE or not np.isnan(rects).any():
            return font, rects
        size = max(MIN_FONT_SIZE, int(size * 0.85))


def _label_size(lines: list[str], font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    pen = ImageDraw.Draw(Image.new('L', (1, 1)))
    text = '\n'.join(lines)
    *_, right, bottom = pen.multiline_textbbox((0, 0), text, font, spacing=_spacing(font))
    return int(np.ceil(right)) + 2 * _padding(font), int(np.ceil(bottom)) + 2 * _padding(font)


def _wishes(pair: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Top-left corners (S, 2) where a label of a pair (2, 4) looks best."""
    width, height = size
    spots = []
    for x1, y1, x2, y2 in pair:
        spots += [(x1, y1 - height), (x2 - width, y1 - height), (x1, y2), (x2 - width, y2)]
    return np.array(spots)
