"""Data structures that more than one wing speaks."""

from .boxes import (
    box_areas,
    cxcywh_to_xyxy,
    generalized_iou,
    pairwise_generalized_iou,
    pairwise_iou,
    union_boxes,
    xyxy_to_cxcywh,
)
from .checked import CheckedInstanceData
from .referring import ReferringDataSample

__all__ = [
    'CheckedInstanceData',
    'ReferringDataSample',
    'box_areas',
    'cxcywh_to_xyxy',
    'generalized_iou',
    'pairwise_generalized_iou',
    'pairwise_iou',
    'union_boxes',
    'xyxy_to_cxcywh',
]
