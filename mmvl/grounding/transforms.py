"""Transforms of an image, its sentence, and the box and mask that the sentence refers to; packing.

``img`` is (h, w, 3) uint8 RGB throughout, ``box`` (4,) float32 xyxy in pixels of the current
``img``, ``mask`` (h, w) uint8 0 or 1; a sample without annotation lacks the last two. Randomness
comes from ``results['rng']`` only.

Letters in shapes: H, W size of the image on disk, h, w of the current one, S side of the square.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image

from mmvl.engine.images import read_image
from mmvl.language.directions import has_direction, swap_left_right
from mmvl.registry import TRANSFORMS
from mmvl.structures import ReferringDataSample
from mmvl.structures.masks import MaskError, decode_segmentation

Results = dict[str, Any]

META_KEYS = (
    *('img_path', 'file_name', 'img_id', 'ref_id', 'sent_id', 'ann_id', 'dataset', 'split'),
    *('text', 'ori_shape', 'img_shape', 'pad_offset', 'square'),
)


@TRANSFORMS.register_module()
class LoadReferringImage(BaseTransform):
    """Read ``img_path``, and keep the annotation as it is on disk.

    Adds ``img``, ``ori_shape`` and ``img_shape`` (H, W), and, where there is a ``box``,
    ``ori_box``, and ``mask`` and ``ori_mask`` (H, W) uint8 from ``segmentation``.

    Args:
        with_mask: decode the segmentation; an annotated sample must have one.
    """

    def __init__(self, with_mask: bool = True) -> None:
        self.with_mask = with_mask

    def transform(self, results: Results) -> Results:
        """Read the image.

        Raises:
            FileNotFoundError: there is no such file.
            ImageError: the file is not an image, is damaged, cut off or too large.
            ValueError: the sentence is empty.
            MaskError: the segmentation is missing, damaged, or does not fit the image.
        """
        where = f'{results["img_path"]}, sentence {results.get("sent_id", "")}'.rstrip()
        if not results['text'].strip():
            raise ValueError(
                f'{where} is empty.\nWhat to do: give it words, or remove it from the annotation.'
            )
        try:
            results['img'] = read_image(results['img_path'])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Image not found: {results["img_path"]}\n'
                'What to do: set data_root, and data_prefix=dict(img=...) below it.'
            ) from error
        shape = results['img'].shape[:2]
        results['ori_shape'] = results['img_shape'] = shape
        if 'box' in results:
            results['ori_box'] = results['box'].copy()
            if self.with_mask:
                results['mask'] = results['ori_mask'] = _mask(results, shape, where)
        return results


def _mask(results: Results, shape: tuple[int, int], where: str) -> np.ndarray:
    if results.get('segmentation') is None:
        raise MaskError(
            f'{where}: there is no segmentation.\n'
            'What to do: set with_mask=False where only boxes are annotated.'
        )
    try:
        return decode_segmentation(results['segmentation'], *shape).astype(np.uint8)
    except MaskError as error:
        raise MaskError(f'{where}: {error}') from None


@TRANSFORMS.register_module()
class ResizeLongSide(BaseTransform):
    """Resize so that the longer side has a length drawn from a list.

    Images are resized bilinearly with antialiasing, masks to the nearest pixel.

    Args:
        sizes: lengths in pixels; with a single one nothing is drawn.
        cap_with_direction: the largest length for a sentence with a direction word, which a crop
            could make false, and for a box that would not fit into a crop of this size; None for
            no limit. Needed where :class:`RandomCropAroundBox` follows.

    Source: VG-LAW (Su et al. 2023), released transforms: 448, or 320 to 576 in steps of 32. There
    the box is scaled by one ratio for both sides; here it follows the pixels, whose sides are
    rounded, which differs by half a pixel at most.
    """

    def __init__(
        self, sizes: Sequence[int] = (448,), cap_with_direction: int | None = None
    ) -> None:
        if not sizes or min(*sizes, cap_with_direction or sizes[0]) < 1:
            raise ValueError(f'sizes must be positive, got {sizes} and {cap_with_direction}')
        self.sizes = tuple(sizes)
        self.cap = cap_with_direction

    def transform(self, results: Results) -> Results:
        """Draw the length and resize."""
        size = self.sizes[0]
        if len(self.sizes) > 1:
            size = self.sizes[results['rng'].integers(len(self.sizes))]
        height, width = results['img'].shape[:2]
        if self.cap is not None and size > self.cap:
            largest = 0.0
            if 'box' in results:
                largest = float((results['box'][2:] - results['box'][:2]).max())
            too_large = largest * size > self.cap * max(height, width)
            if too_large or has_direction(results['text']):
                size = self.cap
        ratio = size / max(height, width)
        resize(results, max(1, round(height * ratio)), max(1, round(width * ratio)))
        return results


def resize(results: Results, height: int, width: int) -> None:
    """Resize image, box and mask, in place."""
    old_height, old_width = results['img'].shape[:2]
    image = Image.fromarray(results['img'])
    results['img'] = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    results['img_shape'] = (height, width)
    if 'box' in results:
        x, y = width / old_width, height / old_height
        results['box'] = results['box'] * np.array([x, y, x, y], np.float32)
    if 'mask' in results:
        mask = Image.fromarray(results['mask'])
        results['mask'] = np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))


@TRANSFORMS.register_module()
class RandomCropAroundBox(BaseTransform):
    """Cut a square at a random place that holds the whole box.

    Nothing is cut where the sentence has a direction word, or from a side that is no longer than
    the square.

    Args:
        size: side of the square in pixels.
    """

    def __init__(self, size: int = 448) -> None:
        self.size = size

    def transform(self, results: Results) -> Results:
        """Draw the place and cut.

        Raises:
            ValueError: the box is larger than the square.
        """
        shape = results['img'].shape[:2]
        if max(shape) <= self.size or has_direction(results['text']):
            return results
        box = results['box']
        left, width = self._window(shape[1], float(box[0]), float(box[2]), results['rng'])
        top, height = self._window(shape[0], float(box[1]), float(box[3]), results['rng'])
        window = np.s_[top : top + height, left : left + width]
        results['img'] = np.ascontiguousarray(results['img'][window])
        results['img_shape'] = (height, width)
        moved = box - np.array([left, top] * 2, np.float32)
        results['box'] = moved.clip(0, np.array([width, height] * 2, np.float32))
        if 'mask' in results:
            results['mask'] = np.ascontiguousarray(results['mask'][window])
        return results

    def _window(
        self, side: int, low: float, high: float, rng: np.random.Generator
    ) -> tuple[int, int]:
        """Start and length of the window along a side on which the box runs from low to high."""
        length = min(side, self.size)
        # annotated boxes may stick out of their image
        low, high = max(low, 0.0), min(high, float(side))
        if high - low > length:
            raise ValueError(
                f'a box of {high - low:g} pixels does not fit a crop of {length}.\n'
                f'What to do: set cap_with_direction={self.size} in ResizeLongSide.'
            )
        first = max(0, math.ceil(high - length))
        last = min(math.floor(low), side - length)
        if first > last:  # the box, at fractions of pixels, loses less than one of them
            first = last
        return int(rng.integers(first, last, endpoint=True)), length


@TRANSFORMS.register_module()
class RandomFlipReferring(BaseTransform):
    """Mirror image, box and mask left to right, and swap "left" and "right" in the sentence.

    Args:
        prob: probability in 0-1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        """Flip, or not."""
        if results['rng'].random() < self.prob:
            flip(results)
        return results


def flip(results: Results) -> None:
    """Mirror image, box and mask, and swap the words, in place."""
    results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
    results['text'] = swap_left_right(results['text'])
    if 'box' in results:
        width = results['img'].shape[1]
        mirrored = results['box'][[2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        results['box'] = mirrored + np.array([width, 0, width, 0], np.float32)
    if 'mask' in results:
        results['mask'] = np.ascontiguousarray(results['mask'][:, ::-1])


@TRANSFORMS.register_module()
class PadToSquare(BaseTransform):
    """Choose where in a square the image lies, and move box and mask into the square.

    The image itself stays as it is, ``img_shape`` too: padding comes after normalisation, in the
    data preprocessor. Adds ``square`` S and ``pad_offset`` (top, left).

    Args:
        size: S in pixels.
        mode: ``'random'``, as in the published training, or ``'centre'``, for testing.

    Raises:
        ValueError: unknown mode.
    """

    def __init__(self, size: int = 448, mode: str = 'centre') -> None:
        if mode not in ('random', 'centre'):
            raise ValueError(f"unknown mode '{mode}'; known: random, centre")
        self.size = size
        self.mode = mode

    def transform(self, results: Results) -> Results:
        """Choose the place.

        Raises:
            ValueError: the image is larger than the square.
        """
        height, width = results['img'].shape[:2]
        if max(height, width) > self.size:
            raise ValueError(
                f'an image of {width} x {height} does not fit a square of {self.size}.\n'
                'What to do: put ResizeLongSide, or RandomCropAroundBox, before PadToSquare.'
            )
        room = self.size - height, self.size - width
        if self.mode == 'random':
            top, left = (int(results['rng'].integers(each, endpoint=True)) for each in room)
        else:
            top, left = (each // 2 for each in room)
        results['square'], results['pad_offset'] = self.size, (top, left)
        if 'box' in results:
            results['box'] = results['box'] + np.array([left, top] * 2, np.float32)
        if 'mask' in results:
            padding = (top, room[0] - top), (left, room[1] - left)
            results['mask'] = np.pad(results['mask'], padding)
        return results


@TRANSFORMS.register_module()
class PackReferringInputs(BaseTransform):
    """Turn a sample into what a model takes.

    Gives ``inputs``, (3, h, w) uint8 RGB, and ``data_samples``, a :class:`ReferringDataSample`
    with the annotation, where there is one. All ``boxes`` of a phrase of Flickr30k Entities, which
    no transform changes, become ``ori_boxes`` (N, 4) for its metric.

    Args:
        original_mask: also pack ``ori_mask``, which testing at the original size needs.
    """

    def __init__(self, original_mask: bool = False) -> None:
        self.original_mask = original_mask

    def transform(self, results: Results) -> dict[str, Any]:
        """Pack."""
        meta = {key: results[key] for key in META_KEYS if key in results}
        sample = ReferringDataSample(metainfo=meta)
        if 'box' in results:
            sample.gt_box = torch.from_numpy(results['box'])
            sample.ori_box = torch.from_numpy(results['ori_box'])
        if 'boxes' in results:
            sample.ori_boxes = torch.from_numpy(results['boxes'])
        if 'mask' in results:
            sample.gt_mask = torch.from_numpy(results['mask'].astype(bool))
            if self.original_mask:
                sample.ori_mask = torch.from_numpy(results['ori_mask'].astype(bool))
        inputs = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        return {'inputs': inputs, 'data_samples': sample}
