"""The images of all cameras of a key frame, and of the one before, with their augmentation.

Source: BEVDet (Huang et al. 2021), the image pipeline in the released code of ALOcc.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor

from mmvl.engine.images import read_image
from mmvl.registry import TRANSFORMS

Results = dict[str, Any]


class ImageView(NamedTuple):
    """How one image is resized, cut out, mirrored and turned, in this order.

    Attributes:
        resize: factor of height and width.
        size: (width, height) after it, pixels.
        crop: (left, top, right, bottom) in the resized image, which it may leave.
        flip: left becomes right.
        degrees: turned about the centre, counter-clockwise.
    """

    resize: float
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    flip: bool
    degrees: float

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Transform (H, W, 3) uint8: cubic when resizing, nearest when turning, black outside."""
        picture = Image.fromarray(image).resize(self.size, Image.Resampling.BICUBIC).crop(self.crop)
        if self.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(picture.rotate(self.degrees, Image.Resampling.NEAREST))

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Rotation (3, 3) and translation (3,), float32: pixel' = rotation @ pixel + translation.

        Pixels are (x, y, 1). The order of operations is the released one, in single precision.
        """
        left, top, right, bottom = self.crop
        sides = torch.tensor([float(right - left), float(bottom - top)])
        matrix = torch.eye(2) * self.resize
        offset = -torch.tensor([float(left), float(top)])
        if self.flip:
            mirror = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
            matrix = mirror.matmul(matrix)
            offset = mirror.matmul(offset) + torch.stack((sides[0], sides.new_zeros(())))
        angle = self.degrees / 180 * np.pi
        turn = torch.tensor([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        turn, centre = turn.float(), sides / 2
        matrix = turn.matmul(matrix)
        offset = turn.matmul(offset) + (turn.matmul(-centre) + centre)
        rotation, translation = torch.eye(3), torch.zeros(3)
        rotation[:2, :2], translation[:2] = matrix, offset
        return rotation, translation


@TRANSFORMS.register_module()
class LoadSurroundImages(BaseTransform):
    """Read the images of all cameras, each with an augmentation of its own.

    Adds ``images`` (N, 3, H, W) uint8 RGB, ``image_rotation`` (N, 3, 3) and ``image_translation``
    (N, 3) float32, see :meth:`ImageView.matrices`; and ``previous_images``, under the same view as
    the image of their camera.

    Args:
        size: (H, W) of the network's input, pixels.
        resize: range of what is added to the factor that brings the image to width W.
        degrees: range of the rotation.
        flip: whether to mirror every second image.
        cut_below: range of the share of the resized height that is cut off at the bottom; what is
            too much beyond that is cut off at the top.
        augment: draw from the ranges; without it, nothing is added, mirrored or turned, the cut is
            in the middle from left to right and at the mean of ``cut_below``.
        previous: read the images of the key frame before too.
    """

    def __init__(
        self,
        size: Sequence[int] = (256, 704),
        resize: Sequence[float] = (-0.06, 0.11),
        degrees: Sequence[float] = (-5.4, 5.4),
        flip: bool = True,
        cut_below: Sequence[float] = (0.0, 0.0),
        augment: bool = False,
        previous: bool = True,
    ) -> None:
        self.height, self.width = size
        self.resize, self.degrees, self.cut_below = resize, degrees, cut_below
        self.flip, self.augment, self.previous = flip, augment, previous

    def view(self, height: int, width: int, rng: np.random.Generator | None) -> ImageView:
        """Choose the view of an image of a size, the middle one without a generator."""
        resize = self.width / width
        if rng is not None:
            resize += _drawn(rng, self.resize)
        size = (int(width * resize), int(height * resize))
        spare = max(0, size[0] - self.width)
        below = np.mean(self.cut_below) if rng is None else _drawn(rng, self.cut_below)
        top = int((1 - below) * size[1]) - self.height
        left = int(spare / 2) if rng is None else int(rng.uniform(0, spare))
        crop = (left, top, left + self.width, top + self.height)
        if rng is None:
            return ImageView(resize, size, crop, False, 0.0)
        flip = self.flip and bool(rng.integers(2))
        return ImageView(resize, size, crop, flip, _drawn(rng, self.degrees))

    def transform(self, results: Results) -> Results:
        """Read.

        Raises:
            FileNotFoundError: an image is missing.
            ImageError: an image is damaged.
        """
        rng = results['rng'] if self.augment else None
        images, previous, matrices = [], [], []
        for path, path_before in zip(
            results['image_paths'], results['previous_image_paths'], strict=True
        ):
            image = read_image(path)
            view = self.view(image.shape[0], image.shape[1], rng)
            images.append(view.apply(image))
            matrices.append(view.matrices())
            if self.previous:
                same = path_before == path
                previous.append(images[-1] if same else view.apply(read_image(path_before)))
        rotations, translations = zip(*matrices, strict=True)
        results['image_rotation'] = torch.stack(rotations)
        results['image_translation'] = torch.stack(translations)
        results['images'] = _stacked(images)
        if self.previous:
            results['previous_images'] = _stacked(previous)
        return results


def _drawn(rng: np.random.Generator, bounds: Sequence[float]) -> float:
    low, high = bounds
    return float(rng.uniform(low, high))


def _stacked(images: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2)))
