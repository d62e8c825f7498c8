"""Changes of colour."""

from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from mmvl.registry import TRANSFORMS

ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@TRANSFORMS.register_module()
class PhotometricDistortClip(BaseTransform):
    """Change brightness, contrast, saturation and hue, and permute the channels, frame by frame.

    Each change is made with probability 0.5 and drawn for each frame anew. Values beyond 0-255 wrap
    round instead of saturating, as in the released code, whose numbers were trained so.

    Args:
        brightness: largest shift, of 255.
        contrast: least and largest factor.
        saturation: least and largest factor.
        hue: largest shift in degrees.

    Source: ReferFormer (Wu et al., CVPR 2022), released transforms, after SSD (Liu et al. 2016).
    """

    def __init__(
        self,
        brightness: float = 32.0,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        hue: float = 18.0,
    ) -> None:
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Draw and change."""
        results['imgs'] = [self._distort(img, results['rng']) for img in results['imgs']]
        return results

    def _distort(self, img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pixels: np.ndarray = img.astype(np.float32)
        if rng.integers(2):
            pixels += np.float32(rng.uniform(-self.brightness, self.brightness))
        contrast_first = rng.integers(2)
        if contrast_first:
            pixels = self._contrast(pixels, rng)
        # the channels stand in another order than the name says, in both directions
        hsv: np.ndarray = cv2.cvtColor(pixels, cv2.COLOR_BGR2HSV)
        if rng.integers(2):
            hsv[..., 1] *= np.float32(rng.uniform(*self.saturation))
        if rng.integers(2):
            hue = hsv[..., 0] + np.float32(rng.uniform(-self.hue, self.hue))
            hue[hue > 360] -= 360
            hue[hue < 0] += 360
            hsv[..., 0] = hue
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        if not contrast_first:
            pixels = self._contrast(pixels, rng)
        if rng.integers(2):
            pixels = pixels[..., ORDERS[rng.integers(len(ORDERS))]]
        # through int32, since a cast of what does not fit is undefined
        return np.ascontiguousarray(pixels.astype(np.int32).astype(np.uint8))

    def _contrast(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return pixels * np.float32(rng.uniform(*self.contrast)) if rng.integers(2) else pixels
