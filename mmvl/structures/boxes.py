"""Boxes as plain tensors: conversions between frames and overlaps.

Everything here works on floating tensors in continuous coordinates: a box from x=2 to x=5 is 3
wide. The older protocols that count pixels (+1) keep that rule to themselves, in their metrics.
Letters in shapes: N, M numbers of boxes; ``...`` any leading dimensions.
"""

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Convert (..., 4) boxes from centre and size to corners, in the same unit."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Convert (..., 4) boxes from corners to centre and size, in the same unit."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1), dim=-1)


def box_areas(boxes: Tensor) -> Tensor:
    """Areas (...,) of (..., 4) xyxy boxes."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def union_boxes(first: Tensor, second: Tensor) -> Tensor:
    """Smallest (..., 4) xyxy boxes that hold both of two (..., 4) xyxy boxes."""
    low = torch.minimum(first[..., :2], second[..., :2])
    return torch.cat((low, torch.maximum(first[..., 2:], second[..., 2:])), dim=-1)


def _overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, and union, of broadcast (..., 4) xyxy boxes."""
    low = torch.maximum(first[..., :2], second[..., :2])
    size = (torch.minimum(first[..., 2:], second[..., 2:]) - low).clamp(min=0)
    intersection = size[..., 0] * size[..., 1]
    union = box_areas(first) + box_areas(second) - intersection
    return intersection / union, union


def pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (..., N, M) of every box of (..., N, 4) with every box of (..., M, 4), xyxy.

    Two empty boxes give NaN, as in DETR.
    """
    return _overlaps(first.unsqueeze(-2), second.unsqueeze(-3))[0]


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (...,) in -1 to 1 of aligned, broadcastable (..., 4) xyxy boxes.

    Source: Rezatofighi et al. 2019, algorithm 1.
    """
    iou, union = _overlaps(first, second)
    hull = box_areas(union_boxes(first, second))
    return iou - (hull - union) / hull


def pairwise_generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (..., N, M) of (..., N, 4) with (..., M, 4) xyxy boxes."""
    return generalized_iou(first.unsqueeze(-2), second.unsqueeze(-3))
