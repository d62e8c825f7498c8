"""Image and box transforms of human-object interaction detection, and packing.

``img`` is (H, W, 3) uint8 RGB throughout; geometry goes through PIL, so that pixels equal those of
the DETR family. ``boxes`` (n, 4) float32 xyxy are in pixels of the current ``img``; ``labels``
(n,) and ``box_ids`` (n,), the index of each remaining box in the annotation, shrink with them.
``hois`` keep the indices of the annotation. Randomness comes from ``results['rng']`` only.

Letters in shapes: H, W height and width, N annotated boxes, n boxes that remain.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose
from mmengine.structures import InstanceData
from PIL import Image
from torchvision.transforms import functional

from mmvl.engine.images import read_image
from mmvl.registry import TRANSFORMS

from .structures import HOIDataSample

Results = dict[str, Any]


def flip(results: Results) -> None:
    """Mirror the image and its boxes left to right, in place."""
    results['img'] = np.ascontiguousarray(results['img'][:, ::-1])
    if 'boxes' in results:
        width = results['img'].shape[1]
        mirrored = results['boxes'][:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        results['boxes'] = mirrored + np.array([width, 0, width, 0], np.float32)


def crop(results: Results, top: int, left: int, height: int, width: int) -> None:
    """Cut a window out of the image, in place; boxes are cut to it and dropped when empty."""
    window = results['img'][top : top + height, left : left + width]
    results['img'] = np.ascontiguousarray(window)
    results['img_shape'] = (height, width)
    if 'boxes' in results:
        results['boxes'] = results['boxes'] - np.array([left, top, left, top], np.float32)
        _clip(results)


def resize(results: Results, height: int, width: int) -> None:
    """Resize the image (bilinear with antialiasing) and its boxes, in place."""
    old_height, old_width = results['img'].shape[:2]
    image = Image.fromarray(results['img']).resize((width, height), Image.Resampling.BILINEAR)
    results['img'] = np.asarray(image)
    results['img_shape'] = (height, width)
    if 'boxes' in results:
        x, y = width / old_width, height / old_height
        results['boxes'] = results['boxes'] * np.array([x, y, x, y], np.float32)


def shortest_edge_shape(
    shape: tuple[int, int], edge: int, max_size: int | None = None
) -> tuple[int, int]:
    """Height and width after the shorter edge is brought to ``edge``.

    Args:
        shape: (H, W) before.
        edge: the shorter edge after, less when the longer one would exceed ``max_size``.
        max_size: limit of the longer edge. The limited shorter edge is rounded before the longer
            one is computed from it, which can then exceed the limit by a few pixels.

    Source: DETR (Carion et al. 2020), released transforms: the longer edge is truncated.
    """
    short, long = sorted(shape)
    if max_size is not None and long / short * edge > max_size:
        edge = round(max_size * short / long)
    if short == edge:
        return shape
    height, width = shape
    if width < height:
        return int(edge * height / width), edge
    return edge, int(edge * width / height)


def _keep(results: Results, mask: np.ndarray) -> None:
    for key in ('boxes', 'labels', 'box_ids'):
        results[key] = results[key][mask]


def _clip(results: Results) -> None:
    """Cut boxes to the image and drop those without area."""
    height, width = results['img'].shape[:2]
    limit = np.array([width, height, width, height], np.float32)
    boxes = results['boxes'] = results['boxes'].clip(0, limit)
    _keep(results, (boxes[:, 2:] > boxes[:, :2]).all(axis=1))


@TRANSFORMS.register_module()
class LoadHOIImage(BaseTransform):
    """Read ``img_path`` and start the record of which boxes remain.

    The image becomes (H, W, 3) uint8 RGB as :func:`mmvl.engine.images.read_image` reads it. Adds
    ``img``, ``ori_shape`` and ``img_shape`` (H, W), and, where there are ``boxes``, ``ori_boxes``
    (N, 4), ``ori_labels`` (N,) and ``box_ids`` (N,).

    Args:
        keep_original: also add ``ori_img``, the image before augmentation, for a teacher that
            looks at the original pixels.
    """

    def __init__(self, keep_original: bool = False) -> None:
        self.keep_original = keep_original

    def transform(self, results: Results) -> Results:
        """Read the image.

        Raises:
            FileNotFoundError: there is no such file.
            ImageError: the file is not an image, is damaged, cut off or too large.
        """
        try:
            image = read_image(results['img_path'])
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'Image not found: {results["img_path"]}\n'
                'HICO-DET images are expected in '
                'data/hico_20160224_det/images/{train2015,test2015}.\n'
                "What to do: set data_root, and data_prefix=dict(img='images/train2015') below it."
            ) from error
        results['img'] = image
        results['ori_shape'] = results['img_shape'] = image.shape[:2]
        if self.keep_original:
            results['ori_img'] = image
        if 'boxes' in results:
            results['ori_boxes'] = results['boxes'].copy()
            results['ori_labels'] = results['labels'].copy()
            results['box_ids'] = np.arange(len(results['boxes']))
        return results


@TRANSFORMS.register_module()
class ClipBoxes(BaseTransform):
    """Cut boxes to the image and drop those without area, as in training of the DETR family."""

    def transform(self, results: Results) -> Results:
        """Cut the boxes."""
        _clip(results)
        return results


@TRANSFORMS.register_module()
class RandomFlipPairs(BaseTransform):
    """Mirror the image and its boxes left to right.

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


@TRANSFORMS.register_module()
class ColorJitterRGB(BaseTransform):
    """Change brightness, contrast and saturation in random order.

    Args:
        brightness: a factor is drawn from max(0, 1 - brightness) to 1 + brightness.
        contrast: likewise.
        saturation: likewise.
    """

    def __init__(
        self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4
    ) -> None:
        self.strengths = (brightness, contrast, saturation)

    def transform(self, results: Results) -> Results:
        """Draw the order and the factors, and apply them."""
        rng = results['rng']
        order = rng.permutation(3)
        factors = [rng.uniform(max(0.0, 1 - s), 1 + s) for s in self.strengths]
        results['img'] = adjust_colors(results['img'], factors, order)
        return results


def adjust_colors(img: np.ndarray, factors: Sequence[float], order: Sequence[int]) -> np.ndarray:
    """Apply colour factors to an image.

    Args:
        img: (H, W, 3) uint8 RGB.
        factors: of brightness, contrast and saturation; 1 changes nothing.
        order: a permutation of 0, 1, 2, the order in which the three are applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Source: torchvision's ColorJitter on PIL images.
    """
    steps = (
        functional.adjust_brightness,
        functional.adjust_contrast,
        functional.adjust_saturation,
    )
    image = Image.fromarray(img)
    for i in order:
        image = steps[i](image, factors[i])
    return np.asarray(image)


@TRANSFORMS.register_module()
class ResizeShortestEdge(BaseTransform):
    """Resize so that the shorter edge has a length drawn from a list.

    Args:
        scales: lengths in pixels; with a single one nothing is drawn.
        max_size: limit of the longer edge, see :func:`shortest_edge_shape`; None for no limit.
    """

    def __init__(self, scales: Sequence[int], max_size: int | None = 1333) -> None:
        self.scales = tuple(scales)
        self.max_size = max_size

    def transform(self, results: Results) -> Results:
        """Draw the length and resize."""
        edge = self.scales[0]
        if len(self.scales) > 1:
            edge = self.scales[results['rng'].integers(len(self.scales))]
        resize(results, *shortest_edge_shape(results['img'].shape[:2], edge, self.max_size))
        return results


@TRANSFORMS.register_module()
class RandomSizeCrop(BaseTransform):
    """Cut out a window of random size and place.

    Boxes are cut to the window and dropped when nothing of them is inside; all may be dropped.

    Args:
        min_size: least height and width; an edge of the image that is shorter is kept whole.
        max_size: greatest height and width.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        if not 0 < min_size <= max_size:
            raise ValueError(f'need 0 < min_size <= max_size, got {min_size} and {max_size}')
        self.min_size = min_size
        self.max_size = max_size

    def transform(self, results: Results) -> Results:
        """Draw the window and cut."""
        rng = results['rng']
        shape = results['img'].shape[:2]
        height, width = (
            int(rng.integers(min(self.min_size, edge), min(edge, self.max_size), endpoint=True))
            for edge in shape
        )
        top = int(rng.integers(shape[0] - height, endpoint=True))
        left = int(rng.integers(shape[1] - width, endpoint=True))
        crop(results, top, left, height, width)
        return results


@TRANSFORMS.register_module()
class RandomBranch(BaseTransform):
    """Run one of two pipelines.

    Unlike mmcv's RandomChoice it draws from the generator of the sample.

    Args:
        transforms: two lists of transforms or their configs.
        prob: probability of the first, in 0-1.
    """

    def __init__(self, transforms: Sequence[Sequence[dict]], prob: float = 0.5) -> None:
        if len(transforms) != 2:
            raise ValueError(f'RandomBranch takes two pipelines, got {len(transforms)}')
        self.branches = [
            Compose([TRANSFORMS.build(t) if isinstance(t, dict) else t for t in branch])
            for branch in transforms
        ]
        self.prob = prob

    def transform(self, results: Results) -> Results:
        """Draw the branch and run it."""
        return self.branches[0 if results['rng'].random() < self.prob else 1](results)


@TRANSFORMS.register_module()
class PackHOIInputs(BaseTransform):
    """Turn a sample into what a model takes.

    Gives ``inputs``, (3, H, W) uint8 RGB, and ``data_samples``, a :class:`HOIDataSample` with the
    annotation in original pixels (all N boxes), and with ``gt_pairs`` and ``ori_img`` where the
    pipeline made them. An image without annotation gives a sample without truth.

    Args:
        meta_keys: keys that become metainfo where they exist.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = ('img_path', 'file_name', 'img_id', 'ori_shape', 'img_shape'),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Results) -> dict[str, Any]:
        """Pack."""
        meta = {key: results[key] for key in self.meta_keys if key in results}
        sample = HOIDataSample(metainfo=meta)
        if 'ori_boxes' in results:
            sample.gt_instances = InstanceData(
                boxes=torch.from_numpy(results['ori_boxes']),
                labels=torch.from_numpy(results['ori_labels']),
            )
            sample.gt_hois = torch.from_numpy(results['hois'])
        if 'gt_pairs' in results:
            sample.gt_pairs = results['gt_pairs']
        if 'ori_img' in results:
            sample.ori_img = results['ori_img']
        inputs = torch.from_numpy(np.ascontiguousarray(results['img'].transpose(2, 0, 1)))
        return {'inputs': inputs, 'data_samples': sample}
