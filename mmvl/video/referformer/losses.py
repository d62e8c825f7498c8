"""ReferFormer's assignment and objectives, for all decoder layers of a batch at once.

Letters in shapes: D decoder layers, B clips, T frames, Q queries, h and w of the masks at stride 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor

from mmvl.registry import TASK_UTILS
from mmvl.structures import box_areas, cxcywh_to_xyxy, union_boxes

from .mask_head import STRIDE

EPS = 1e-6


@dataclass
class ClipOutputs:
    """What all decoder layers say about a batch of clips.

    Attributes:
        logits: (D, B, T, Q) score of each query.
        boxes: (D, B, T, Q, 4) cxcywh in 0-1 of the un-padded frame.
        masks: (D, B, T, Q, h, w) logits at stride 4, padding included.
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor


@dataclass
class ClipTargets:
    """The referents of a batch.

    Attributes:
        boxes: (B, T, 4) cxcywh in 0-1 of the un-padded frame; zeros where it is absent.
        masks: (B, T, h, w) float32, 0 or 1, at stride 4.
        valid: (B, T) bool, whether it is to be seen.
    """

    boxes: Tensor
    masks: Tensor
    valid: Tensor


def thin_masks(masks: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Bring masks to stride 4: the third pixel of every four, rows and columns.

    Args:
        masks: (T, height, width) bool of each clip, un-padded.
        size: h and w.

    Returns:
        (B, T, h, w) float32.
    """
    start = STRIDE // 2
    thinned = masks[0].new_zeros(len(masks), len(masks[0]), *size, dtype=torch.float32)
    for target, mask in zip(thinned, masks, strict=True):
        part = mask[:, start::STRIDE, start::STRIDE]
        target[:, : part.shape[1], : part.shape[2]] = part
    return thinned


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25) -> Tensor:
    """Focal loss with gamma 2 of every element; the two broadcast.

    Source: Lin et al. 2017, equation 5.
    """
    probability = logits.sigmoid()
    entropy = F.softplus(logits) - logits * target
    right = probability * target + (1 - probability) * (1 - target)
    return (alpha * target + (1 - alpha) * (1 - target)) * (1 - right).square() * entropy


def dice(logits: Tensor, target: Tensor, dims: Sequence[int]) -> Tensor:
    """Dice coefficient over some dimensions, smoothed by 1; the two broadcast."""
    probability = logits.sigmoid()
    both = (probability * target).sum(tuple(dims))
    return (2 * both + 1) / (probability.sum(tuple(dims)) + target.sum(tuple(dims)) + 1)


def smooth_giou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (...,) of broadcast (..., 4) cxcywh boxes, defined for empty ones.

    1e-6 is added to both sides of each ratio, as in the released code.
    """
    first, second = cxcywh_to_xyxy(first), cxcywh_to_xyxy(second)
    low = torch.maximum(first[..., :2], second[..., :2])
    sides = (torch.minimum(first[..., 2:], second[..., 2:]) - low).clamp(min=0)
    common = sides.prod(-1)
    union = box_areas(first) + box_areas(second) - common
    hull = box_areas(union_boxes(first, second))
    return (common + EPS) / (union + EPS) - (hull - union + EPS) / (hull + EPS)


@TASK_UTILS.register_module()
class ReferFormerCriterion:
    """Assign one query to the referent of each clip and weigh the five losses of every layer.

    A clip has one referent, so the assignment is the cheapest query; costs have the weights of the
    losses.

    Args:
        class_weight: of the focal loss of the scores.
        box_weight: of the L1 loss of the boxes.
        giou_weight: of the generalised IoU loss.
        mask_weight: of the focal loss of the masks.
        dice_weight: of the dice loss.

    Source: ReferFormer, section 3.5; released code, ``models/matcher.py``, ``models/criterion.py``.
    """

    def __init__(
        self,
        class_weight: float = 2.0,
        box_weight: float = 5.0,
        giou_weight: float = 2.0,
        mask_weight: float = 2.0,
        dice_weight: float = 5.0,
    ) -> None:
        self.weights = {
            'loss_ce': class_weight,
            'loss_bbox': box_weight,
            'loss_giou': giou_weight,
            'loss_mask': mask_weight,
            'loss_dice': dice_weight,
        }

    @torch.no_grad()
    def match(self, outputs: ClipOutputs, targets: ClipTargets) -> Tensor:
        """Choose a query.

        Returns:
            (D, B) int64.
        """
        probability = outputs.logits.sigmoid()
        positive = 0.25 * (1 - probability).square() * -(probability + 1e-8).log()
        negative = 0.75 * probability.square() * -(1 - probability + 1e-8).log()
        seen = targets.valid[..., None].float()
        # over the frames that show the referent; boxes over all, an absent one being all zero
        frames = seen.sum(1).clamp(min=1)
        boxes, masks = targets.boxes[:, :, None], targets.masks[:, :, None]
        costs = {
            'loss_ce': ((positive - negative) * seen).sum(2) / frames,
            'loss_bbox': (outputs.boxes - boxes).abs().sum(-1).mean(2),
            'loss_giou': -smooth_giou(outputs.boxes, boxes).mean(2),
            'loss_mask': focal(outputs.masks, masks).mean((2, 4, 5)),
            'loss_dice': -dice(outputs.masks, masks, (-4, -2, -1)),
        }
        return sum(self.weights[name] * cost for name, cost in costs.items()).argmin(-1)  # type: ignore[union-attr]

    def __call__(self, outputs: ClipOutputs, targets: ClipTargets) -> dict[str, Tensor]:
        """Compute the losses.

        Returns:
            Weighted losses under their released names; those of the auxiliary layer i end in
            ``_i``. All are divided by the number of frames with a referent, averaged over the
            ranks and at least 1.
        """
        chosen = self.match(outputs, targets)
        layers, clips, frames, queries = outputs.logits.shape
        layer = torch.arange(layers, device=chosen.device)[:, None]
        clip = torch.arange(clips, device=chosen.device)
        boxes = outputs.boxes.transpose(2, 3)[layer, clip, chosen]
        masks = outputs.masks.transpose(2, 3)[layer, clip, chosen]
        is_chosen = F.one_hot(chosen, queries)[:, :, None]
        labels = (is_chosen * targets.valid[..., None]).to(outputs.logits.dtype)
        count = targets.valid.sum().float()
        all_reduce(count, 'mean')
        terms = {
            'loss_ce': focal(outputs.logits, labels).sum((1, 2, 3)),
            'loss_bbox': (boxes - targets.boxes).abs().sum((1, 2, 3)),
            'loss_giou': (1 - smooth_giou(boxes, targets.boxes)).sum((1, 2)),
            'loss_mask': focal(masks, targets.masks).mean((2, 3, 4)).sum(1),
            'loss_dice': (1 - dice(masks, targets.masks, (-3, -2, -1))).sum(1),
        }
        losses = {}
        for name, term in terms.items():
            weighted = self.weights[name] * term / count.clamp(min=1)
            losses[name] = weighted[-1]
            losses.update({f'{name}_{i}': weighted[i] for i in range(layers - 1)})
        return losses
