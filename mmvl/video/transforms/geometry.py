"""Transforms that move the pixels of all frames of a clip alike.

Source: ReferFormer (Wu et al., CVPR 2022), released transforms.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from PIL import Image

from mmvl.language.directions import swap_left_right
from mmvl.registry import TRANSFORMS

Results = dict[str, Any]


@TRANSFORMS.register_module()
class RandomFlipClip(BaseTransform):
    """Mirror frames, masks and boxes left to right, and swap "left" and "right" in the sentence.

    As in the released code the letters are swapped wherever they stand ('bright' becomes 'bleft');
    there, a sentence with '@' in it is spoilt, and here it is not.

    Args:
        prob: probability in 0-1.
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = prob

    def transform(self, results: Results) -> Results:
        """Flip, or not."""
        if results['rng'].random() >= self.prob:
            return results
        results['text'] = swap_left_right(results['text'])
        width = results['imgs'][0].shape[1]
        results['imgs'] = [np.ascontiguousarray(img[:, ::-1]) for img in results['imgs']]
        if 'masks' in results:
            results['masks'] = np.ascontiguousarray(results['masks'][..., ::-1])
            mirrored = results['boxes'][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
            results['boxes'] = mirrored + np.array([width, 0, width, 0], np.float32)
        return results


@TRANSFORMS.register_module()
class ResizeClip(BaseTransform):
    """Resize so that the shorter side has a length drawn from a list.

    Frames are resized bilinearly with antialiasing, masks to the nearest pixel.

    Args:
        sizes: lengths in pixels; with a single one nothing is drawn.
        max_size: the longer side is at most this, about; None for no limit.
    """

    def __init__(self, sizes: Sequence[int] = (360,), max_size: int | None = None) -> None:
        if not sizes or min(*sizes, max_size or sizes[0]) < 1:
            raise ValueError(f'sizes must be positive, got {sizes} and {max_size}')
        self.sizes = tuple(sizes)
        self.max_size = max_size

    def transform(self, results: Results) -> Results:
        """Draw the length and resize."""
        size = self.sizes[0]
        if len(self.sizes) > 1:
            size = self.sizes[results['rng'].integers(len(self.sizes))]
        old_height, old_width = results['imgs'][0].shape[:2]
        height, width = short_side_size(old_height, old_width, size, self.max_size)
        results['imgs'] = [_resize(img, height, width) for img in results['imgs']]
        results['img_shape'] = (height, width)
        if 'masks' in results:
            # not Pillow's nearest pixel, which is another one
            masks = F.interpolate(torch.from_numpy(results['masks'])[:, None], (height, width))
            results['masks'] = masks[:, 0].numpy()
            ratio = np.array([width / old_width, height / old_height] * 2, np.float32)
            results['boxes'] = results['boxes'] * ratio
        return results


def short_side_size(
    height: int, width: int, size: int, max_size: int | None = None
) -> tuple[int, int]:
    """Height and width after a resize of the shorter side, with the released code's rounding.

    Args:
        height: before.
        width: before.
        size: of the shorter side in pixels.
        max_size: of the longer side; rounding may exceed it.
    """
    short, long = min(height, width), max(height, width)
    if max_size is not None and long / short * size > max_size:
        size = round(max_size * short / long)
    other = max(1, int(size * long / short))
    return (size, other) if height <= width else (other, size)


def _resize(img: np.ndarray, height: int, width: int) -> np.ndarray:
    resized = Image.fromarray(img).resize((width, height), Image.Resampling.BILINEAR)
    return np.array(resized)


@TRANSFORMS.register_module()
class RandomCropClip(BaseTransform):
    """Cut a window of random size at a random place, the same from all frames.

    Boxes are cut with it, and not made anew from the masks.

    Args:
        min_size: least height and width in pixels.
        max_size: most height and width.
    """

    def __init__(self, min_size: int = 384, max_size: int = 600) -> None:
        if not 1 <= min_size <= max_size:
            raise ValueError(f'need 1 <= min_size <= max_size, got {min_size} and {max_size}')
        self.min_size, self.max_size = min_size, max_size

    def transform(self, results: Results) -> Results:
        """Draw the window and cut.

        Raises:
            ValueError: the frames are smaller than ``min_size``.
        """
        shape, rng = results['imgs'][0].shape[:2], results['rng']
        if min(shape) < self.min_size:
            raise ValueError(
                f'frames of {shape[1]} x {shape[0]} are smaller than a crop of {self.min_size}.\n'
                'What to do: put a ResizeClip with larger sizes before RandomCropClip.'
            )
        limits = [min(side, self.max_size) for side in shape]
        width, height = (
            int(rng.integers(self.min_size, limit, endpoint=True)) for limit in limits[::-1]
        )
        top, left = (
            int(rng.integers(side - length, endpoint=True))
            for side, length in zip(shape, (height, width), strict=True)
        )
        rows, columns = slice(top, top + height), slice(left, left + width)
        results['imgs'] = [np.ascontiguousarray(img[rows, columns]) for img in results['imgs']]
        results['img_shape'] = (height, width)
        if 'masks' in results:
            results['masks'] = np.ascontiguousarray(results['masks'][:, rows, columns])
            moved = results['boxes'] - np.array([left, top] * 2, np.float32)
            results['boxes'] = moved.clip(0, np.array([width, height] * 2, np.float32))
        return results


@TRANSFORMS.register_module()
class KeepVisible(BaseTransform):
    """Set ``valid`` to whether a box has an area, and boxes without one to zeros.

    Gives None, which makes a dataset take another sample, where no frame is valid. Masks stay as
    they are, also in a frame that is not valid: the box of a mask one pixel wide has no area.
    """

    def transform(self, results: Results) -> Results | None:
        """Look at the boxes."""
        boxes = results['boxes']
        results['valid'] = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        results['boxes'] = np.where(results['valid'][:, None], boxes, np.float32(0))
        return results if results['valid'].any() else None
