"""Data samples of human-object interaction detection.

Letters in shapes: N boxes, M annotated triplets, P training pairs, K predicted triplets, V verbs.
"""

from typing import ClassVar

import torch
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from mmvl.structures import CheckedInstanceData


class HOIPairs(CheckedInstanceData):
    """Subject-object pairs, as targets of a training image or as predictions.

    Fields of both: ``subject_boxes`` and ``object_boxes`` (N, 4) float32, ``object_labels`` (N,)
    int64 zero-based COCO-80.

    Targets: boxes are cxcywh in 0-1 of the un-padded network input; ``verb_labels`` (P, V)
    float32, 1 for an annotated seen verb, a probability after soft labelling; ``potential`` (P,)
    bool, true for a pair without a seen label; ``interactive`` (P,) bool, false where the pair is
    annotated with "no_interaction"; ``union_boxes`` (P, 4) float32 xyxy, pixels of the original
    image before augmentation. The metainfo ``distillable_verbs`` (V,) bool tells which verbs may
    take soft labels.

    Predictions, best first: boxes are xyxy in pixels of the original image; ``verbs`` (K,) int64;
    ``scores`` (K,) float32 in 0-1.
    """

    fields: ClassVar[dict[str, tuple[torch.dtype, tuple[int | None, ...]]]] = {
        'subject_boxes': (torch.float32, (4,)),
        'object_boxes': (torch.float32, (4,)),
        'object_labels': (torch.int64, ()),
        'verb_labels': (torch.float32, (None,)),
        'potential': (torch.bool, ()),
        'interactive': (torch.bool, ()),
        'union_boxes': (torch.float32, (4,)),
        'verbs': (torch.int64, ()),
        'scores': (torch.float32, ()),
    }


class HOIDataSample(BaseDataElement):
    """One image with its annotation, training pairs and predictions.

    The metainfo holds ``img_path``, ``file_name``, ``img_id``, ``ori_shape`` and ``img_shape``
    (both height, width).
    """

    @property
    def gt_instances(self) -> InstanceData:
        """Annotated boxes: ``boxes`` (N, 4) xyxy original pixels, ``labels`` (N,) COCO-80."""
        return self._gt_instances

    @gt_instances.setter
    def gt_instances(self, value: InstanceData) -> None:
        self.set_field(value, '_gt_instances', dtype=InstanceData)

    @property
    def gt_hois(self) -> Tensor:
        """Annotated triplets (M, 3) int64: subject index, object index (into the boxes), verb."""
        return self._gt_hois

    @gt_hois.setter
    def gt_hois(self, value: Tensor) -> None:
        if value.ndim != 2 or value.shape[1] != 3 or value.dtype != torch.int64:
            got = f'{tuple(value.shape)} {value.dtype}'
            raise ValueError(f'gt_hois must be (M, 3) int64, got {got}')
        self.set_field(value, '_gt_hois', dtype=Tensor)

    @property
    def gt_pairs(self) -> HOIPairs:
        """Training pairs; see :class:`HOIPairs`."""
        return self._gt_pairs

    @gt_pairs.setter
    def gt_pairs(self, value: HOIPairs) -> None:
        self.set_field(value, '_gt_pairs', dtype=HOIPairs)

    @property
    def pred_pairs(self) -> HOIPairs:
        """Predicted triplets, best first; see :class:`HOIPairs`."""
        return self._pred_pairs

    @pred_pairs.setter
    def pred_pairs(self, value: HOIPairs) -> None:
        self.set_field(value, '_pred_pairs', dtype=HOIPairs)
