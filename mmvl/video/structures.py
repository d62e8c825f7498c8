"""The data sample of tasks in which a sentence refers to one thing in a video."""

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor

# field -> dtype and number of dimensions
FIELDS = {
    'gt_masks': (torch.bool, 3),
    'gt_boxes': (torch.float32, 2),
    'gt_valid': (torch.bool, 1),
    'ori_masks': (torch.bool, 3),
    'pred_masks': (torch.bool, 3),
    'pred_probs': (torch.float32, 3),
    'pred_boxes': (torch.float32, 2),
    'pred_scores': (torch.float32, 1),
    'pred_queries': (torch.int64, 1),
    'query_masks': (torch.bool, 3),
    'query_scores': (torch.float32, 1),
}


class ClipDataSample(BaseDataElement):
    """One clip and one sentence, with the masks and boxes of the referent.

    The metainfo holds ``video_id``, ``exp_id``, ``obj_id``, ``dataset``, ``split``, ``text``;
    ``frame_names``, the T names of the frames without suffix; ``target``, the position of the one
    annotated frame, or None where all are; ``image_id`` of that frame in COCO's files;
    ``ori_shape`` (H, W) of the frames on disk and ``img_shape`` (h, w) after resizing.

    Fields, all optional, checked when they are set; Q counts queries, M annotated frames: T, or 1
    where there is a ``target``:

    * ``gt_masks`` (M, h, w) bool, ``gt_boxes`` (M, 4) float32 xyxy, pixels of the resized frames;
      ``gt_valid`` (M,) bool, whether the referent is to be seen.
    * ``ori_masks`` (M, H, W) bool, of the frames on disk.
    * ``pred_masks`` (T, H, W) bool, ``pred_probs`` (T, H, W) float32 and ``pred_boxes`` (T, 4)
      float32 xyxy of the frames on disk; ``pred_scores`` (T,) float32, all of the chosen query,
      whose number ``pred_queries`` (T,) int64 tells for videos and windows.
    * ``query_masks`` (Q, H, W) bool and ``query_scores`` (Q,) float32 of the annotated frame.
    """

    def __setattr__(self, name: str, value: object) -> None:
        """Set a field.

        Raises:
            ValueError: a field has another dtype or number of dimensions.
        """
        if name in FIELDS and isinstance(value, Tensor):
            dtype, ndim = FIELDS[name]
            if value.dtype != dtype or value.ndim != ndim:
                raise ValueError(
                    f'{name} must be {dtype} with {ndim} dimensions, '
                    f'got {tuple(value.shape)} {value.dtype}'
                )
        super().__setattr__(name, value)
