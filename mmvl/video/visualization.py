"""Pictures of what a sentence refers to in a video: functions, visualizer and hook.

Letters in shapes: T frames, H and W of a frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw
from torch import Tensor

from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.visualization import (
    SampleVisualizationHook,
    add_title,
    beside,
    caption_bar,
    save_picture,
)
from mmvl.visualization.canvas import GAP, PALETTE, Color, load_font, text_color

from .streaming import DEFAULT_RATE, write_video
from .structures import ClipDataSample

TRUTH_COLOR: Final = PALETTE[2]
PREDICTION_COLOR: Final = PALETTE[0]
MASK_OPACITY: Final = 0.45
PAPER: Final = (255, 255, 255)
INK: Final = (30, 30, 30)
FAINT: Final = (200, 200, 200)
STRIP_COLUMNS: Final = 4
STRIP_WIDTH: Final = 420
"""Of a cell of a filmstrip, pixels."""
CURVE_SIZE: Final = (960, 320)
# The curve is drawn at twice the size and reduced: Pillow does not smooth lines.
SMOOTH: Final = 2


def draw_frame(
    frame: np.ndarray,
    mask: np.ndarray | None = None,
    box: np.ndarray | None = None,
    score: float | None = None,
    color: Color = PREDICTION_COLOR,
) -> np.ndarray:
    """Draw a translucent mask with its outline, a box, and the score at the corner of the box.

    Args:
        frame: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
        box: (4,) xyxy pixels; what lies outside the frame is cut off, and a box that is not finite
            is left out.
        score: in 0-1; at the corner of the frame where there is no box.
        color: RGB of all.

    Returns:
        (H, W, 3) uint8 RGB, a new array.

    Raises:
        ValueError: the mask has another size.
    """
    height, width = frame.shape[:2]
    thickness = max(1, round(min(height, width) / 240))
    picture = frame.copy()
    if mask is not None:
        if mask.shape != (height, width):
            raise ValueError(f'the mask is {mask.shape}, the frame {(height, width)}')
        tint = np.array(color) * MASK_OPACITY
        picture[mask] = (picture[mask] * (1 - MASK_OPACITY) + tint).round()
        lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, lines, -1, color, thickness, cv2.LINE_AA)
    corner = (0, 0)
    if box is not None and np.isfinite(box).all():
        limits = np.array([width, height] * 2) - 1
        x1, y1, x2, y2 = box.round().clip(0, limits).astype(int).tolist()
        # the rim keeps a line visible on a ground of its own colour
        for paint, thick in ((PAPER, 2 * thickness + 2), (color, 2 * thickness)):
            cv2.rectangle(picture, (x1, y1), (x2, y2), paint, thick)
        corner = (x1, y1)
    if score is not None:
        _add_plate(picture, f'{score:.2f}', corner, color)
    return picture


def _add_plate(picture: np.ndarray, text: str, corner: tuple[int, int], color: Color) -> None:
    """Write a short text on a ground of a colour into a picture, as near a corner as it fits."""
    height, width = picture.shape[:2]
    font = load_font(max(10, min(height, width) // 22))
    _, _, right, bottom = font.getbbox(text)
    margin = int(font.size) // 4
    plate = Image.new('RGB', (int(right) + 2 * margin, int(bottom) + 2 * margin), color)
    ImageDraw.Draw(plate).text((margin, margin), text, text_color(color), font)
    x = max(0, min(corner[0], width - plate.width))
    y = max(0, min(corner[1], height - plate.height))
    target = picture[y : y + plate.height, x : x + plate.width]
    target[:] = np.asarray(plate)[: target.shape[0], : target.shape[1]]


def with_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture (H, W, 3) uint8 RGB with a sentence under it."""
    height, width = picture.shape[:2]
    bar = caption_bar(text, width, max(12, min(height, width) // 24))
    return np.concatenate((picture, bar))


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most ``count`` different indices below ``length``, the first and the last among them."""
    return sorted(set(np.linspace(0, length - 1, min(length, count)).round().astype(int).tolist()))


def filmstrip_cell(picture: np.ndarray, title: str) -> np.ndarray:
    """A frame (H, W, 3) uint8 RGB reduced to a cell of a filmstrip, a title above it."""
    height, width = picture.shape[:2]
    size = STRIP_WIDTH, max(1, round(height * STRIP_WIDTH / width))
    return add_title(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), title)


def filmstrip(cells: Sequence[np.ndarray], text: str) -> np.ndarray:
    """Put cells of one size in rows of four, with the sentence under them.

    Args:
        cells: (h, w, 3) uint8 RGB, at least one.
        text: the sentence.

    Returns:
        uint8 RGB picture.
    """
    columns = min(len(cells), STRIP_COLUMNS)
    blank = np.full_like(cells[0], 255)
    padded = [*cells, *[blank] * (-len(cells) % columns)]
    rows = [beside(padded[i : i + columns]) for i in range(0, len(padded), columns)]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([part for row in rows for part in (row, gap)])
    return np.concatenate((sheet, caption_bar(text, sheet.shape[1])))


def score_curve(
    scores: np.ndarray, names: Sequence[str], text: str, window: int | None = None
) -> np.ndarray:
    """Plot the score of every frame.

    Args:
        scores: (T,) in 0-1.
        names: T names of the frames, of which the first, the middle and the last are written.
        text: the sentence, printed under the plot.
        window: frames that went through the model together; a line stands where one ends.

    Returns:
        uint8 RGB picture.
    """
    width, height = (SMOOTH * side for side in CURVE_SIZE)
    font = load_font(14 * SMOOTH)
    left, right, top, bottom = 60 * SMOOTH, 30 * SMOOTH, 20 * SMOOTH, 40 * SMOOTH
    span, rise = width - left - right, height - top - bottom
    sheet = Image.new('RGB', (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (1 - level) * rise
        pen.line([(left, y), (left + span, y)], FAINT, SMOOTH)
        pen.text((left - 8 * SMOOTH, y), f'{level:.2f}', INK, font, anchor='rm')
    steps = max(1, len(scores) - 1)
    for end in range(window, len(scores), window) if window else ():
        x = left + (end - 0.5) / steps * span
        pen.line([(x, top), (x, top + rise)], FAINT, SMOOTH)
    points = [
        (left + i / steps * span, top + (1 - score) * rise)
        for i, score in enumerate(np.clip(np.nan_to_num(scores), 0, 1).tolist())
    ]
    pen.line(points, PREDICTION_COLOR, 2 * SMOOTH, joint='curve')
    radius = 2.5 * SMOOTH
    for x, y in points if len(points) <= 100 else ():
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), PREDICTION_COLOR)
    for i in evenly_spaced(len(scores), 3):
        x = left + i / steps * span
        pen.text((x, top + rise + 8 * SMOOTH), names[i], INK, font, anchor='mt')
    plot = np.asarray(sheet.resize(CURVE_SIZE, Image.Resampling.BOX))
    return np.concatenate((plot, caption_bar(text, plot.shape[1])))


@VISUALIZERS.register_module()
class RVOSVisualizer(Visualizer):
    """Draws clips as filmstrips: the annotation above, the prediction below, then the sentence.

    Takes the arguments of :class:`mmengine.visualization.Visualizer`.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: ClipDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        step: int = 0,
        out_file: str | None = None,
        max_frames: int = 8,
        video_file: str | None = None,
    ) -> np.ndarray:
        """Draw one clip and write it to a file or to the backends.

        Args:
            name: name of the picture in the backends.
            image: (T, H, W, 3) uint8 RGB, the frames of the clip at any size.
            data_sample: a sample with an annotation (``ori_masks`` or ``gt_masks``), a prediction
                (``pred_masks``, ``pred_boxes``, ``pred_scores``) or both, and its ``text``. Where
                there is a ``target``, what has one entry belongs to that frame.
            draw_gt: draw the annotation, if there is one.
            draw_pred: draw the prediction, if there is one.
            step: step of the picture in the backends.
            out_file: write this file (in every process) instead of the backends.
            max_frames: frames of the filmstrip, evenly spaced.
            video_file: also write the prediction of all frames as a video.

        Returns:
            The picture, uint8 RGB; with nothing to draw, the frames over the sentence.
        """
        chosen = evenly_spaced(len(image), max_frames)
        if data_sample.get('target') is not None:
            chosen = sorted({*chosen, data_sample.target})
        truth = data_sample.get('ori_masks', data_sample.get('gt_masks'))
        rows = []
        if draw_gt and truth is not None:
            rows.append([_cell(image, data_sample, i, truth, 'annotation') for i in chosen])
        if draw_pred and 'pred_masks' in data_sample:
            masks = data_sample.pred_masks
            rows.append([_cell(image, data_sample, i, masks, 'prediction') for i in chosen])
        rows = rows or [[filmstrip_cell(image[i], f'frame {i}') for i in chosen]]
        strips = [filmstrip(cells, '') for cells in rows[:-1]]
        picture = np.concatenate((*strips, filmstrip(rows[-1], data_sample.text)))
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            save_picture(picture, out_file)
        if video_file is not None and 'pred_masks' in data_sample:
            drawn = (
                _drawn(image, data_sample, i, data_sample.pred_masks, True)[0]
                for i in range(len(image))
            )
            frames = (with_caption(each, data_sample.text) for each in drawn)
            write_video(video_file, frames, DEFAULT_RATE)
        return picture


def _cell(
    frames: np.ndarray, sample: ClipDataSample, index: int, masks: Tensor, whose: str
) -> np.ndarray:
    picture, score = _drawn(frames, sample, index, masks, whose == 'prediction')
    said = '' if score is None else f', score {score:.2f}'
    return filmstrip_cell(picture, f'{whose}, frame {sample.frame_names[index]}{said}')


def _drawn(
    frames: np.ndarray, sample: ClipDataSample, index: int, masks: Tensor, predicted: bool
) -> tuple[np.ndarray, float | None]:
    """A frame with its mask, and with box and score where it is predicted; and the score."""
    frame = frames[index]
    # on a frame of 64 pixels the score would hide what it belongs to
    scale = -(-STRIP_WIDTH // (2 * max(frame.shape[:2])))
    frame = frame.repeat(scale, 0).repeat(scale, 1)
    place = index
    if len(masks) == 1 and len(frames) > 1:
        if index != sample.get('target'):
            return frame, None
        place = 0
    height, width = frame.shape[:2]
    # masks of the frames on disk, frames as the model takes them
    given = masks[place].cpu().numpy().astype(np.uint8)
    mask = cv2.resize(given, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    if not predicted:
        return draw_frame(frame, mask, color=TRUTH_COLOR), None
    box = score = None
    if 'pred_boxes' in sample:
        ratio = np.array([width / masks.shape[2], height / masks.shape[1]] * 2)
        box = sample.pred_boxes[place].cpu().double().numpy() * ratio
    if 'pred_scores' in sample:
        score = float(sample.pred_scores[place])
    return draw_frame(frame, mask, box, score), score


@HOOKS.register_module()
class RVOSVisualizationHook(SampleVisualizationHook):
    """:class:`~mmvl.visualization.SampleVisualizationHook` with a filmstrip of each sentence.

    The frames are those that went into the model, at the size they had there. Test pictures are
    ``VIDEO_SENTENCE.jpg`` in the folder.

    Args:
        videos: when testing, also write ``VIDEO_SENTENCE.mp4`` of the prediction.
        **options: as there; ``max_frames`` is among those of ``add_datasample``.
    """

    def __init__(self, videos: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.videos = videos

    def name_of(self, sample: ClipDataSample) -> str:
        """Video and sentence, and the frame where only one is annotated."""
        target = sample.get('target')
        frame = '' if target is None else f'_{sample.frame_names[target]}'
        return f'{sample.video_id}_{sample.exp_id}{frame}'

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[ClipDataSample] | None = None,
    ) -> None:
        """Give the first clips of a validation to the backends."""
        for sample, frames in self._drawable(data_batch, outputs, self.draw, self.val_images):
            name = f'val_{self.name_of(sample)}'
            runner.visualizer.add_datasample(name, frames, sample, step=runner.iter, **self.options)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[ClipDataSample] | None = None,
    ) -> None:
        """Write the filmstrips of a batch, and the videos where wished.

        Raises:
            OSError: a file cannot be written.
        """
        folder = Path(self.show_dir or Path(runner.work_dir) / 'vis')
        wanted = self.draw or self.show_dir is not None
        for sample, frames in self._drawable(data_batch, outputs, wanted, self.max_images):
            stem = str(folder / self.name_of(sample))
            runner.visualizer.add_datasample(
                self.name_of(sample),
                frames,
                sample,
                out_file=f'{stem}.jpg',
                video_file=f'{stem}.mp4' if self.videos else None,
                **self.options,
            )

    def _drawable(
        self,
        data_batch: dict | None,
        outputs: Sequence[ClipDataSample] | None,
        wanted: bool,
        limit: int | None,
    ) -> list[tuple[ClipDataSample, np.ndarray]]:
        """The samples of a batch that are to be drawn, with their frames (T, H, W, 3)."""
        samples = self._next(outputs, limit if wanted else 0)
        clips = [] if data_batch is None else data_batch['inputs'][: len(samples)]
        return [
            (sample, clip.permute(0, 2, 3, 1).cpu().numpy())
            for sample, clip in zip(samples, clips, strict=True)
        ]
