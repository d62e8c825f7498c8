"""A clip out of one image."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmvl.registry import TRANSFORMS
from mmvl.video.datasets.masks import boxes_of

Results = dict[str, Any]


@TRANSFORMS.register_module()
class ImageToClip(BaseTransform):
    """Make a clip of an image: itself and changed copies, in random order.

    Each copy gets a change of brightness, of hue and saturation, or of both; then a perspective, a
    turn and a shift, which bare black borders; then, at times, motion blur. Boxes are made anew
    from the masks.

    Args:
        num_frames: T.
        perspective: standard deviation of how far a corner moves inwards, of the side in 0-1.
        rotation: largest turn in degrees.
        translation: largest shift, of the side in 0-1, the same share of both sides.
        hue_saturation: largest shift, of 255.
        brightness: largest shift, of 255.
        blur_prob: probability of motion blur.
        blur_sizes: sides of its kernel in pixels.

    Source: ReferFormer (Wu et al., CVPR 2022), released settings; there imgaug draws and does all
    this, whose distributions are followed.
    """

    def __init__(
        self,
        num_frames: int = 5,
        perspective: float = 0.08,
        rotation: float = 20.0,
        translation: float = 0.1,
        hue_saturation: int = 5,
        brightness: int = 40,
        blur_prob: float = 0.25,
        blur_sizes: tuple[int, ...] = (9, 11),
    ) -> None:
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1, got {num_frames}')
        self.num_frames = num_frames
        self.perspective = perspective
        self.rotation, self.translation = rotation, translation
        self.hue_saturation, self.brightness = hue_saturation, brightness
        self.blur_prob, self.blur_sizes = blur_prob, tuple(blur_sizes)

    def transform(self, results: Results) -> Results:
        """Draw the copies and their order."""
        rng: np.random.Generator = results['rng']
        image, mask = results['imgs'][0], results['masks'][0]
        frames = [
            (image, mask),
            *(self._copy(image, mask, rng) for _ in range(self.num_frames - 1)),
        ]
        order = rng.permutation(self.num_frames)
        results['imgs'] = [frames[i][0] for i in order]
        results['masks'] = results['ori_masks'] = np.stack([frames[i][1] for i in order])
        results['boxes'] = boxes_of(results['masks'])
        results['valid'] = results['masks'].any(axis=(1, 2))
        results['frame_names'] = tuple(map(str, range(self.num_frames)))
        return results

    def _copy(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        image = self._recolour(image, rng)
        height, width = image.shape[:2]
        # one after the other: what the perspective cuts off does not come back
        for matrix in (self._perspective(width, height, rng), self._affine(width, height, rng)):
            size = width, height
            image = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_LINEAR)
            mask = cv2.warpPerspective(mask, matrix, size, flags=cv2.INTER_NEAREST)
        if rng.random() < self.blur_prob:
            kernel = _motion_kernel(int(rng.choice(self.blur_sizes)), rng)
            image = cv2.filter2D(image, -1, kernel)
        return image, mask

    def _recolour(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        kinds = rng.permutation(2)[: rng.integers(1, 2, endpoint=True)]
        if 0 in kinds:
            shift = int(rng.integers(-self.brightness, self.brightness, endpoint=True))
            image = (image.astype(np.int16) + shift).clip(0, 255).astype(np.uint8)
        if 1 in kinds:
            shift = int(rng.integers(-self.hue_saturation, self.hue_saturation, endpoint=True))
            hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
            # OpenCV's hue has 180 steps
            hsv[..., 0] = (hsv[..., 0] + int(shift / 255 * 180)) % 180
            hsv[..., 1] = (hsv[..., 1] + shift).clip(0, 255)
            image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
        return image

    def _perspective(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """A matrix that stretches a quadrangle, whose corners moved inwards, over the image."""
        moved = np.abs(rng.normal(0, self.perspective, (4, 2))) % 0.5
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
        inside = np.where(corners == 0, moved, 1 - moved)
        side = np.array([width, height])
        quadrangle, whole = ((each * side).astype(np.float32) for each in (inside, corners))
        return cv2.getPerspectiveTransform(quadrangle, whole)

    def _affine(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        angle = rng.uniform(-self.rotation, self.rotation)
        shift = rng.uniform(-self.translation, self.translation)
        centre = ((width - 1) / 2, (height - 1) / 2)
        matrix = np.eye(3)
        matrix[:2] = cv2.getRotationMatrix2D(centre, angle, 1.0)
        matrix[:2, 2] += shift * width, shift * height
        return matrix


def _motion_kernel(size: int, rng: np.random.Generator) -> np.ndarray:
    """A line through the middle of a kernel, at any angle, that fades to one of its ends."""
    direction = (rng.uniform(-1, 1) + 1) / 2
    kernel: np.ndarray = np.zeros((size, size), np.float32)
    kernel[:, size // 2] = np.linspace(direction, 1 - direction, size)
    turn = cv2.getRotationMatrix2D((size // 2, size // 2), rng.uniform(0, 360), 1.0)
    kernel = cv2.warpAffine(kernel, turn, (size, size))
    return kernel / kernel.sum()
