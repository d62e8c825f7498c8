"""The first and the last transform of a clip."""

from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmvl.engine.images import read_image
from mmvl.registry import TRANSFORMS
from mmvl.structures.masks import MaskError
from mmvl.video.datasets.masks import boxes_of, load_mask
from mmvl.video.decode import read_frames
from mmvl.video.structures import ClipDataSample

Results = dict[str, Any]

META_KEYS = (
    *('video_id', 'exp_id', 'obj_id', 'dataset', 'split', 'text', 'frame_names', 'target'),
    *('image_id', 'ori_shape', 'img_shape'),
)


class ClipError(ValueError):
    """The frames of a clip do not fit together."""


@TRANSFORMS.register_module()
class LoadClip(BaseTransform):
    """Read the frames and masks of a clip.

    Takes ``img_paths``, or ``video_path`` and ``frame_ids``, and ``mask_sources``; see
    :class:`.ReferringVideoDataset`. Adds ``imgs``, ``ori_shape`` and ``img_shape`` (H, W); and,
    where there are masks, ``masks`` and ``ori_masks``, ``boxes`` and ``valid``. Boxes are those of
    the masks, see :func:`.boxes_of`, or the one annotated ``box`` of an image.
    """

    def transform(self, results: Results) -> Results:
        """Read.

        Raises:
            FileNotFoundError: a frame, a video or a mask is missing.
            ImageError: a frame is damaged.
            VideoError: the video is damaged, or lacks a frame.
            MaskError: a mask is damaged, lacks the object, or has another size than its frame.
            ClipError: the frames are of different sizes, or there are none.
        """
        paths = results.get('img_paths')
        if not (paths or results.get('frame_ids')):
            raise ClipError(f'{_name(results)}: zero frames.\nWhat to do: check its annotation.')
        if paths:
            # frames at the ends of a video repeat
            read = {path: read_image(path) for path in dict.fromkeys(paths)}
            imgs = [read[path] for path in paths]
        else:
            imgs = read_frames(results['video_path'], results['frame_ids'])
        shape = imgs[0].shape[:2]
        for name, img in zip(results['frame_names'], imgs, strict=True):
            if img.shape[:2] != shape:
                sizes = f'{img.shape[1]} x {img.shape[0]} pixels, the first {shape[1]} x {shape[0]}'
                raise ClipError(
                    f'{_name(results)}: frame {name} has {sizes}.\n'
                    'What to do: extract all frames of the video at one size.'
                )
        results['imgs'] = imgs
        results['ori_shape'] = results['img_shape'] = shape
        if 'mask_sources' in results:
            self._load_masks(results, shape)
        return results

    def _load_masks(self, results: Results, shape: tuple[int, int]) -> None:
        try:
            masks = np.stack([load_mask(source, *shape) for source in results['mask_sources']])
        except MaskError as error:
            raise MaskError(f'{_name(results)}: {error}') from None
        results['masks'] = results['ori_masks'] = masks
        results['boxes'] = boxes_of(masks)
        if 'box' in results:
            limits = np.array([shape[1], shape[0]] * 2, np.float32)
            results['boxes'] = results['box'][None].clip(0, limits)
        results['valid'] = masks.any(axis=(1, 2))


def _name(results: Results) -> str:
    return f'video {results["video_id"]}, sentence {results["exp_id"]}'


@TRANSFORMS.register_module()
class PackClip(BaseTransform):
    """Turn a sample into what a model takes.

    Gives ``inputs``, (T, 3, h, w) uint8 RGB, and ``data_samples``, a :class:`ClipDataSample` with
    the annotation, where there is one: of T frames, or of the target alone.

    Args:
        original_masks: also pack ``ori_masks``, which testing at the original size needs.
    """

    def __init__(self, original_masks: bool = False) -> None:
        self.original_masks = original_masks

    def transform(self, results: Results) -> dict[str, Any]:
        """Pack."""
        sample = ClipDataSample(metainfo={key: results[key] for key in META_KEYS})
        if 'masks' in results:
            sample.gt_masks = torch.from_numpy(results['masks'].astype(bool))
            sample.gt_boxes = torch.from_numpy(results['boxes'])
            sample.gt_valid = torch.from_numpy(results['valid'])
            if self.original_masks:
                sample.ori_masks = torch.from_numpy(results['ori_masks'].astype(bool))
        inputs = torch.from_numpy(np.stack([img.transpose(2, 0, 1) for img in results['imgs']]))
        return {'inputs': inputs, 'data_samples': sample}
