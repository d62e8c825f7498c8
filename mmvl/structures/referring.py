"""The data sample of tasks in which a sentence refers to one thing in an image."""

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor


class ReferringDataSample(BaseDataElement):
    """One image and one sentence, with the box and mask of the referent.

    The metainfo holds ``img_path``, ``file_name``, ``img_id``, ``ref_id``, ``sent_id``, ``ann_id``,
    ``dataset``, ``split``, ``text``; ``ori_shape`` (H, W) of the image on disk, ``img_shape``
    (h, w) after resizing, ``square`` S, the side of the padded network input, and ``pad_offset``
    (top, left), where in it the image lies.

    Fields, all optional, checked when they are set:

    * ``gt_box`` (4,) float32 xyxy, pixels of the padded square; ``gt_mask`` (S, S) bool, likewise.
    * ``ori_box`` (4,) float32 xyxy, pixels of the image on disk; ``ori_mask`` (H, W) bool.
    * ``pred_box`` (4,) float32 xyxy and ``pred_mask`` (H, W) bool, of the image on disk;
      ``pred_square_mask`` (S, S) bool.
    """

    def __setattr__(self, name: str, value: object) -> None:
        """Set a field.

        Raises:
            ValueError: a box is not (4,) float32 or a mask not a bool matrix.
        """
        kind = name.rpartition('_')[2] if not name.startswith('_') else ''
        if kind in ('box', 'mask') and isinstance(value, Tensor):
            fits = (
                value.dtype == torch.float32 and tuple(value.shape) == (4,)
                if kind == 'box'
                else value.dtype == torch.bool and value.ndim == 2
            )
            if not fits:
                wanted = '(4,) float32' if kind == 'box' else '(H, W) bool'
                raise ValueError(f'{name} must be {wanted}, got {tuple(value.shape)} {value.dtype}')
        super().__setattr__(name, value)
