"""EoID's objectives, for all decoder layers of a batch at once.

Letters in shapes: L decoder layers, B images, Q queries, V verbs, C object classes, P pairs of one
image, n matched pairs.
"""

from collections.abc import Callable
from operator import itemgetter

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mmvl.hoi.structures import HOIPairs
from mmvl.registry import TASK_UTILS
from mmvl.structures import cxcywh_to_xyxy, generalized_iou

from .matching import LayerOutputs, Match, TwoStageMatcher

SoftLabels = Callable[[list[Tensor]], list[Tensor]]
"""Given one (n,) index of pairs per image, the teacher's verbs, one (n, V) float32 per image."""


@TASK_UTILS.register_module()
class EoIDCriterion:
    """The weighted losses of EoID on every decoder layer.

    Args:
        verb_weight: weight of the loss on hard verb labels.
        distill_weight: weight of the loss on soft verb labels.
        object_weight: weight of the object classification.
        box_weight: weight of the L1 losses.
        giou_weight: weight of the generalised IoU losses.
        interactive_weight: weight of the interactive score.
        no_object_weight: class weight of "no object".
        focal_alpha: weight of positives in the focal loss; negatives take the rest.
        verb_loss: 'focal_bce' (published: focal on hard labels, cross-entropy on soft ones) or
            'bce_bce' (cross-entropy on both).

    Source: EoID, section 3.4 and released code, ``models/EoID.py`` (class reweighting, which the
    released code cannot run, counts as off).
    """

    def __init__(
        self,
        verb_weight: float = 1.6,
        distill_weight: float = 700.0,
        object_weight: float = 1.0,
        box_weight: float = 2.5,
        giou_weight: float = 1.0,
        interactive_weight: float = 1.0,
        no_object_weight: float = 0.1,
        focal_alpha: float = 0.5,
        verb_loss: str = 'focal_bce',
    ) -> None:
        if verb_loss not in ('focal_bce', 'bce_bce'):
            raise ValueError(f"verb_loss is 'focal_bce' or 'bce_bce', not {verb_loss!r}")
        self.weights = {
            'loss_verb_ce': verb_weight,
            'loss_verb_clip': distill_weight,
            'loss_obj_ce': object_weight,
            'loss_sub_bbox': box_weight,
            'loss_obj_bbox': box_weight,
            'loss_sub_giou': giou_weight,
            'loss_obj_giou': giou_weight,
            'loss_is': interactive_weight,
        }
        self.no_object_weight = no_object_weight
        self.focal_alpha = focal_alpha
        self.verb_loss = verb_loss

    def __call__(
        self,
        outputs: LayerOutputs,
        targets: list[HOIPairs],
        matcher: TwoStageMatcher,
        soft_labels: SoftLabels | None = None,
    ) -> dict[str, Tensor]:
        """Match every layer and compute its losses.

        The last layer comes first. Its soft labels stay in the targets when the auxiliary layers
        are matched, as in the released code, so the layers cannot be assigned side by side.

        Args:
            outputs: predictions of all layers.
            targets: training pairs of each image; not changed.
            matcher: assigns queries to pairs.
            soft_labels: the teacher's answer for some pairs; None without distillation.

        Returns:
            Weighted losses under their released names; those of auxiliary layer i are prefixed
            with ``d{i}.``.
        """
        outputs = outputs.map(Tensor.float)
        host = outputs.map(lambda value: value.detach().cpu())
        on_host = outputs.verb_logits.device.type == 'cpu'
        host_targets = targets if on_host else [target.cpu() for target in targets]
        comparisons = [matcher.compare(host, i, target) for i, target in enumerate(host_targets)]
        labels = [target.verb_labels.clone() for target in host_targets]
        negative_verbs = (~torch.as_tensor(targets[0].distillable_verbs)).float()

        last = outputs.verb_logits.shape[0] - 1
        losses, num_pairs = {}, 1.0
        for layer in (last, *range(last)):
            compared = [comparison.layer(layer) for comparison in comparisons]
            matches = [
                matcher.match(*image, negative_verbs)
                for image in zip(
                    compared, labels, (target.potential for target in host_targets), strict=True
                )
            ]
            if soft_labels is not None:
                _soften(labels, matches, soft_labels([match.pairs for match in matches]))
            if layer == last:
                num_pairs = mean_over_ranks(sum(len(m.pairs) for m in matches), outputs.verb_logits)
            current = outputs.map(itemgetter(layer))
            terms = self._layer_losses(current, targets, labels, matches, num_pairs)
            if current.interactive_logits is not None:
                overlaps = [comparison.overlap for comparison in compared]
                terms['loss_is'] = _interactive_loss(
                    current.interactive_logits, overlaps, host_targets, matches
                )
            prefix = '' if layer == last else f'd{layer}.'
            for name, loss in terms.items():
                losses[prefix + name] = loss * self.weights[name]
        return losses

    def _layer_losses(
        self,
        outputs: LayerOutputs,
        targets: list[HOIPairs],
        labels: list[Tensor],
        matches: list[Match],
        num_pairs: float,
    ) -> dict[str, Tensor]:
        """Losses of one layer, before weighting; ``outputs`` without the leading L."""
        device = outputs.verb_logits.device
        images = torch.cat([torch.full_like(m.queries, i) for i, m in enumerate(matches)])
        queries = torch.cat([m.queries for m in matches])
        index = images.to(device), queries.to(device)
        pairs = [m.pairs.to(device) for m in matches]
        verbs = torch.zeros_like(outputs.verb_logits)
        verbs[index] = torch.cat([x[m.pairs] for x, m in zip(labels, matches, strict=True)]).to(
            device
        )
        losses = self._verb_losses(outputs.verb_logits, verbs)
        losses['loss_obj_ce'] = self._object_loss(
            outputs.object_logits, index, _gather(targets, 'object_labels', pairs)
        )
        losses.update(
            _box_losses(
                outputs.subject_boxes[index],
                outputs.object_boxes[index],
                _gather(targets, 'subject_boxes', pairs),
                _gather(targets, 'object_boxes', pairs),
                num_pairs,
            )
        )
        return losses

    def _object_loss(self, logits: Tensor, index: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Cross-entropy of (B, Q, C + 1) logits; unmatched queries are "no object"."""
        no_object = logits.shape[-1] - 1
        classes = logits.new_full(logits.shape[:2], no_object, dtype=torch.int64)
        classes[index] = labels
        weight = logits.new_ones(no_object + 1)
        weight[no_object] = self.no_object_weight
        return F.cross_entropy(logits.flatten(0, 1), classes.flatten(), weight)

    def _verb_losses(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Losses of (B, Q, V) logits on hard labels (0 and 1) and on soft ones (between)."""
        positive, negative = labels == 1, labels == 0
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction='none')
        soft = (entropy * ~(positive | negative)).mean()
        if self.verb_loss == 'bce_bce':
            return {
                'loss_verb_ce': (entropy * (positive | negative)).mean(),
                'loss_verb_clip': soft,
            }
        probability = logits.sigmoid()
        focal = self.focal_alpha * (1 - probability) ** 2 * entropy * positive
        focal = focal + (1 - self.focal_alpha) * probability**2 * entropy * negative
        # without a positive the released code leaves the sum undivided: the same as dividing by 1
        return {
            'loss_verb_ce': focal.sum() / positive.sum().clamp(min=1),
            'loss_verb_clip': soft,
        }


def _gather(targets: list[HOIPairs], field: str, pairs: list[Tensor]) -> Tensor:
    """One field of the matched pairs of all images, concatenated."""
    return torch.cat([getattr(t, field)[p] for t, p in zip(targets, pairs, strict=True)])


def _box_losses(
    subjects: Tensor,
    objects: Tensor,
    subject_targets: Tensor,
    object_targets: Tensor,
    num_pairs: float,
) -> dict[str, Tensor]:
    """L1 and generalised IoU losses of matched (n, 4) cxcywh boxes.

    Subjects are divided by the mean number of matched pairs over ranks, objects by the number of
    visible objects on this rank. Sums over nothing are zeros that keep the graph.
    """
    visible = (object_targets != 0).any(1)
    num_visible = visible.sum() + 1e-4
    subject_giou = 1 - generalized_iou(cxcywh_to_xyxy(subjects), cxcywh_to_xyxy(subject_targets))
    object_giou = 1 - generalized_iou(cxcywh_to_xyxy(objects), cxcywh_to_xyxy(object_targets))
    return {
        'loss_sub_bbox': (subjects - subject_targets).abs().sum() / num_pairs,
        'loss_obj_bbox': ((objects - object_targets).abs() * visible[:, None]).sum() / num_visible,
        'loss_sub_giou': subject_giou.sum() / num_pairs,
        'loss_obj_giou': (object_giou * visible).sum() / num_visible,
    }


def _interactive_loss(
    logits: Tensor, overlaps: list[Tensor], targets: list[HOIPairs], matches: list[Match]
) -> Tensor:
    """Cross-entropy of the interactive score.

    Positive: queries that overlap a seen interactive pair, and those matched to potential pairs.
    Ignored: other queries that overlap a potential pair. Overlap: both IoUs at least 0.5.

    Args:
        logits: (B, Q, 2).
        overlaps: (Q, P) of each image, the smaller of the two IoUs; on the CPU, as are the rest.
        targets: training pairs of each image.
        matches: of each image.
    """
    labels, counted = [], []
    for overlap, target, match in zip(overlaps, targets, matches, strict=True):
        close = overlap >= 0.5
        positive = (close & target.interactive & ~target.potential).any(1)
        positive[match.potential_queries] = True
        labels.append(positive)
        counted.append(positive | ~(close & target.potential).any(1))
    chosen = torch.cat(counted).to(logits.device)
    wanted = torch.cat(labels).long().to(logits.device)
    return F.cross_entropy(logits.flatten(0, 1)[chosen], wanted[chosen])


def _soften(labels: list[Tensor], matches: list[Match], soft: list[Tensor]) -> None:
    """Write soft labels (n, V) into the matched rows of (P, V) labels; annotated verbs stay 1."""
    for label, match, answer in zip(labels, matches, soft, strict=True):
        label[match.pairs] = torch.where(label[match.pairs] == 1, 1.0, answer)


def mean_over_ranks(count: int, like: Tensor) -> float:
    """Mean of a count over all ranks, at least 1; reduced on the device of ``like``."""
    if not (dist.is_available() and dist.is_initialized()):
        return max(float(count), 1.0)
    total = torch.tensor(float(count), device=like.device)
    dist.all_reduce(total)
    return max(total.item() / dist.get_world_size(), 1.0)
