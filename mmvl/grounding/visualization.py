"""Pictures of what a sentence refers to: functions, visualizer and hook."""

from typing import Final

import cv2
import numpy as np
from mmengine.visualization import Visualizer
from PIL import Image, ImageDraw

from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.structures import ReferringDataSample, pairwise_iou
from mmvl.visualization import (
    SampleVisualizationHook,
    add_title,
    beside,
    caption_bar,
    fit_canvas,
    save_picture,
)
from mmvl.visualization.canvas import PALETTE, Color

TRUTH_COLOR: Final = PALETTE[2]
PREDICTION_COLOR: Final = PALETTE[0]
MASK_OPACITY: Final = 0.45
# Lines are drawn at twice the size and reduced: Pillow does not smooth them.
SMOOTH: Final = 2
MIN_WIDTH: Final = 320
"""A picture is at least so wide, or a sentence would not fit under it."""
PAPER: Final = (255, 255, 255)


def draw_referent(
    image: np.ndarray,
    box: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    color: Color = PREDICTION_COLOR,
) -> np.ndarray:
    """Draw a box and a translucent mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) xyxy pixels of the image; what lies outside it is cut off, and a box that is not
            finite is left out.
        mask: (H, W) bool.
        color: RGB of both.

    Returns:
        uint8 RGB picture of the size that :func:`mmvl.visualization.fit_canvas` gives.

    Raises:
        ValueError: the image is not (H, W, 3) uint8, or the mask has another size.
    """
    canvas, scale = fit_canvas(image)
    width = max(2.0, min(canvas.shape[:2]) / 260)
    picture = canvas
    if mask is not None:
        if mask.shape != image.shape[:2]:
            raise ValueError(f'the mask is {mask.shape}, the image {image.shape[:2]}')
        picture = _blend(canvas, mask, color, width)
    if box is None or not np.isfinite(box).all():
        return picture.copy()
    size = np.array([canvas.shape[1], canvas.shape[0]] * 2)
    corners = (box * scale).clip(0, size - 1).astype(np.float64)
    # a box from right to left, or of no size, is still seen
    corners[2:] = np.maximum(corners[2:], corners[:2])
    return _outline(picture, corners, color, width)


def _blend(canvas: np.ndarray, mask: np.ndarray, color: Color, width: float) -> np.ndarray:
    """Tint a mask (H, W) of the image on its canvas, and draw its border."""
    shape = canvas.shape[1], canvas.shape[0]
    cover = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_LINEAR)
    inside = (cover >= 0.5).astype(np.float32)
    # the difference of a smooth mask from its own core is a smooth line
    blurred = cv2.GaussianBlur(inside, (0, 0), width / 2)
    border = 1 - np.abs(2 * blurred - 1)
    alpha = np.maximum(MASK_OPACITY * blurred, border)[..., None]
    return (canvas * (1 - alpha) + np.array(color) * alpha).round().astype(np.uint8)


def _outline(picture: np.ndarray, box: np.ndarray, color: Color, width: float) -> np.ndarray:
    layer = Image.new('RGBA', (SMOOTH * picture.shape[1], SMOOTH * picture.shape[0]))
    pen = ImageDraw.Draw(layer)
    # the rim keeps a line visible on a background of its own colour
    for paint, thick in (((*PAPER, 200), width + 2), ((*color, 255), width)):
        # Pillow draws an outline inwards
        corners = (box + thick / 2 * np.array([-1, -1, 1, 1])) * SMOOTH
        pen.rectangle(corners.tolist(), outline=paint, width=round(thick * SMOOTH))
    base = Image.fromarray(picture).convert('RGBA')
    sheet = layer.resize(base.size, Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(base, sheet).convert('RGB'))


def add_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """Put a sentence under a picture, see :func:`mmvl.visualization.caption_bar`.

    Args:
        picture: (H, W, 3) uint8 RGB.
        text: any text.

    Returns:
        (H + bar, W, 3) uint8 RGB.
    """
    height, width = picture.shape[:2]
    return np.concatenate((picture, caption_bar(text, width, max(14, min(height, width) // 30))))


@VISUALIZERS.register_module()
class ReferringVisualizer(Visualizer):
    """Draws data samples: annotation on the left, prediction on the right, the sentence below.

    Takes the arguments of :class:`mmengine.visualization.Visualizer`.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: ReferringDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        step: int = 0,
        out_file: str | None = None,
    ) -> np.ndarray:
        """Draw one data sample and write it to a file or to the backends.

        Args:
            name: name of the picture in the backends.
            image: (H, W, 3) uint8 RGB, the original image.
            data_sample: a sample with an annotation (``ori_box``, ``ori_mask``), a prediction
                (``pred_box``, ``pred_mask``) or both, and its ``text``.
            draw_gt: draw the annotation, if there is one.
            draw_pred: draw the prediction, if there is one.
            step: step of the picture in the backends.
            out_file: write this file (in every process) instead of the backends.

        Returns:
            The picture, uint8 RGB; with nothing to draw, the image over the sentence.
        """
        panels = []
        if draw_gt and 'ori_box' in data_sample:
            truth = _panel(image, data_sample, 'ori', TRUTH_COLOR)
            panels.append(add_title(truth, 'annotation'))
        if draw_pred and 'pred_box' in data_sample:
            guess = _panel(image, data_sample, 'pred', PREDICTION_COLOR)
            panels.append(add_title(guess, _prediction_title(data_sample)))
        picture = add_caption(beside(panels or [fit_canvas(image)[0]]), data_sample.text)
        if out_file is None:
            self.add_image(name, picture, step)
        else:
            save_picture(picture, out_file)
        return picture


def _panel(image: np.ndarray, sample: ReferringDataSample, whose: str, color: Color) -> np.ndarray:
    box, mask = sample.get(f'{whose}_box'), sample.get(f'{whose}_mask')
    panel = draw_referent(
        image,
        None if box is None else box.cpu().numpy(),
        None if mask is None else mask.cpu().numpy(),
        color,
    )
    spare = max(0, MIN_WIDTH - panel.shape[1])
    padding = (0, 0), (spare // 2, spare - spare // 2), (0, 0)
    return np.pad(panel, padding, constant_values=255)


def _prediction_title(sample: ReferringDataSample) -> str:
    if 'ori_box' not in sample:
        return 'prediction'
    boxes = [box.cpu().double()[None] for box in (sample.pred_box, sample.ori_box)]
    # two boxes without area have no IoU
    iou = pairwise_iou(*boxes).nan_to_num(0.0)
    return f'prediction (IoU of the boxes {float(iou):.2f})'


@HOOKS.register_module()
class ReferringVisualizationHook(SampleVisualizationHook):
    """:class:`~mmvl.visualization.SampleVisualizationHook` with one picture a sentence."""

    def name_of(self, sample: ReferringDataSample) -> str:
        """Image and number of the sentence."""
        return f'{super().name_of(sample)}_{sample.sent_id}'
