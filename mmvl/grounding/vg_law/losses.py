"""VG-LAW's objectives, in the padded square.

Letters in shapes: B images, S side of the square.
"""

import torch.nn.functional as F
from torch import Tensor

from mmvl.structures import cxcywh_to_xyxy, generalized_iou


def box_losses(predicted: Tensor, target: Tensor) -> dict[str, Tensor]:
    """L1 summed over the coordinates, and generalised IoU, both averaged over the images.

    Args:
        predicted: (B, 4) cxcywh in 0-1.
        target: (B, 4) likewise.
    """
    iou = generalized_iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(target))
    return {
        'loss_l1': (predicted - target).abs().sum() / len(target),
        'loss_giou': (1 - iou).mean(),
    }


def mask_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Focal loss averaged over all pixels, and dice loss averaged over the images.

    Args:
        logits: (B, S, S).
        target: (B, S, S) float, 0 or 1.

    Source: Lin et al. 2017 with alpha 0.25, gamma 2; Milletari et al. 2016, smoothed by 1.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    alpha = 0.25 * target + 0.75 * (1 - target)
    both = (probability * target).sum((1, 2))
    total = probability.sum((1, 2)) + target.sum((1, 2))
    return {
        'loss_focal': (alpha * (1 - right).square() * entropy).mean(),
        'loss_dice': (1 - (2 * both + 1) / (total + 1)).mean(),
    }
