"""ALOcc's objectives: class masks on sampled voxels or image cells, and flow.

Letters in shapes: B samples, K classes, V voxels or image cells, M masks (a class of a sample), P
points of a mask.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor

VOXEL_COUNTS: Final[dict[str, int]] = {
    'others': 944004,
    'barrier': 1897170,
    'bicycle': 152386,
    'bus': 2391677,
    'car': 16957802,
    'construction_vehicle': 724139,
    'motorcycle': 189027,
    'pedestrian': 2074468,
    'traffic_cone': 413451,
    'trailer': 2384460,
    'truck': 5916653,
    'driveable_surface': 175883646,
    'other_flat': 4275424,
    'sidewalk': 51393615,
    'terrain': 61411620,
    'manmade': 105975596,
    'vegetation': 116424404,
    'free': 1892500630,
}
"""Voxels of each class in the training split of Occ3D-nuScenes, as released with ALOcc."""


def counts_of(classes: Sequence[str], counts: Mapping[str, float] | None = None) -> Tensor:
    """Look up how often classes occur.

    Args:
        classes: names, in the order of their labels.
        counts: voxels of each name; those of Occ3D-nuScenes if None.

    Returns:
        (K,) float64.

    Raises:
        ValueError: a class is not among the counts.
    """
    counts = VOXEL_COUNTS if counts is None else counts
    missing = [name for name in classes if name not in counts]
    if missing:
        raise ValueError(
            f'no voxel count for {", ".join(missing)}.\n'
            'Where: class_counts of the head, whose default knows the classes of nuScenes.\n'
            'What to do: give class_counts, the number of voxels of each class in the labels.'
        )
    return torch.tensor([counts[name] for name in classes], dtype=torch.float64)


def class_weights(counts: Tensor) -> Tensor:
    """Weigh classes by 1 / ln(count), relative to the first class: (K,) of (K,) float64."""
    weights = 1 / (counts + 0.001).log()
    return weights / weights[0]


def sampling_weights(counts: Tensor, power: float = 0.25) -> Tensor:
    """Weigh voxels of classes by count ** -power, relative to the commonest: (K,) of (K,)."""
    return (counts.max() / counts) ** power


class MaskLoss:
    """Cross entropy and dice of class masks, on points that are drawn.

    Each class that occurs in a sample is a mask. Its points are drawn without repetition, those of
    rare classes more often; the share of them whose logit is least certain stays, and others are
    drawn evenly from what has a label.

    Args:
        weights: (K,) of the classes.
        sampling: (K,) of the voxels of a class when points are drawn.
        oversampling: points that are drawn for one that stays.
        uncertain_share: share of the points that stays for its uncertainty.
        mask_weight: of the cross entropy.
        dice_weight: of the dice loss.
        count_ignored: what the released weights were trained with: where there are fewer labels
            than points to draw, as in images, cells without a label are drawn too and count as
            outside every mask. False leaves them out.

    Source: PointRend (Kirillov et al. 2020), section 3.1; arXiv 2411.07725, section 3.3.
    """

    def __init__(
        self,
        weights: Tensor,
        sampling: Tensor,
        oversampling: float = 3.0,
        uncertain_share: float = 0.75,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        count_ignored: bool = True,
    ) -> None:
        self.weights, self.sampling = weights.float(), sampling.float()
        self.oversampling, self.uncertain_share = oversampling, uncertain_share
        self.mask_weight, self.dice_weight = mask_weight, dice_weight
        self.count_ignored = count_ignored

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        num_points: int,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            logits: (B, K, ...) of the class masks.
            labels: (B, ...) int64; from K on: no label.
            num_points: P, at most V.
            generator: draws the points; torch's own if None, which the training loops seed anew
                for each iteration.

        Returns:
            ``loss_mask`` and ``loss_dice``: means weighted by class, over the masks of all ranks.
        """
        logits, labels = logits.flatten(2).float(), labels.flatten(1)
        classes = logits.shape[1]
        labels = labels.clamp(max=classes)
        sample, kind = self._present(labels, classes)
        weights = self.weights.to(logits.device)[kind]
        total = weights.sum()
        all_reduce(total, 'mean')
        if not len(kind):
            # with a gradient, for the processes that wait
            return dict.fromkeys(('loss_mask', 'loss_dice'), logits.sum() * 0)
        points = self.draw(logits.detach(), labels, num_points, generator)
        chosen = logits[sample[:, None], kind[:, None], points]
        at = labels[sample[:, None], points]
        target = (at == kind[:, None]).to(chosen.dtype)
        counted = torch.ones_like(target) if self.count_ignored else (at < classes).to(target)
        entropy = F.binary_cross_entropy_with_logits(chosen, target, reduction='none')
        entropy = (entropy * counted).sum(1) / counted.sum(1).clamp(min=1)
        inside = chosen.sigmoid() * counted
        dice = (2 * (inside * target).sum(1) + 1) / (inside.sum(1) + target.sum(1) + 1)
        return {
            'loss_mask': self.mask_weight * (weights * entropy).sum() / total,
            'loss_dice': self.dice_weight * (weights * (1 - dice)).sum() / total,
        }

    def _present(self, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
        """Sample and class (M,) of each mask, in ascending order, of (B, V) labels in 0 ... K."""
        batch = torch.arange(len(labels), device=labels.device)[:, None]
        counts = torch.bincount(
            (labels + batch * (classes + 1)).flatten(), minlength=len(labels) * (classes + 1)
        )
        sample, kind = (counts.view(len(labels), -1)[:, :-1] > 0).nonzero().unbind(1)
        return sample, kind

    @torch.no_grad()
    def draw(
        self,
        logits: Tensor,
        labels: Tensor,
        num_points: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw the points of each mask.

        Args:
            logits: (B, K, V).
            labels: (B, V) int64 in 0 ... K, K is no label.
            num_points: P.
            generator: as for the call.

        Returns:
            (M, P) int64 in 0 ... V - 1.
        """
        classes = logits.shape[1]
        sample, kind = self._present(labels, classes)
        shares = F.pad(self.sampling.to(logits.device), (0, 1))[labels]
        uncertain = int(num_points * self.uncertain_share)
        drawn, even = (
            min(number, labels.shape[1])
            for number in (int(num_points * self.oversampling), num_points - uncertain)
        )
        points = torch.multinomial(shares[sample], drawn, generator=generator)
        chosen = logits[sample[:, None], kind[:, None], points]
        best = chosen.abs().topk(min(uncertain, drawn), 1, largest=False).indices
        points = points.gather(1, best)
        if not even:
            return points
        labelled = (labels < classes).float()[sample]
        others = torch.multinomial(labelled, even, generator=generator)
        return torch.cat([points, others], 1)


def flow_losses(
    flow: Tensor, logits: Tensor, target: Tensor, valid: Tensor, bins: Tensor
) -> dict[str, Tensor]:
    """Compare velocities where something moves, or may move.

    Args:
        flow: (B, Y, X, Z, 2) m/s.
        logits: (B, bins, 2, Y, X, Z) of the velocity bins of each axis.
        target: (B, Y, X, Z, 2) m/s, in the axis order of ``flow``.
        valid: (B, Y, X, Z) bool, voxels that count.
        bins: (bins,) m/s, evenly spaced.

    Returns:
        ``loss_flow``: mean squared error; ``loss_flow_cosine``: minus the mean cosine, 0 where
        the true velocity is 0; ``bin_ce_loss``: cross entropy of the nearest bin. All zero
        without a voxel that counts.
    """
    if not bool(valid.any()):
        nothing = flow.sum() * 0
        return dict.fromkeys(('loss_flow', 'loss_flow_cosine', 'bin_ce_loss'), nothing)
    found, true = flow[valid], target[valid]
    logits = logits.movedim(1, -1).movedim(1, -2)[valid]
    nearest = ((true - bins[0]) / (bins[1] - bins[0])).round().clamp(0, len(bins) - 1).long()
    return {
        'loss_flow': F.mse_loss(found, true),
        'loss_flow_cosine': -F.cosine_similarity(found, true, -1).mean(),
        'bin_ce_loss': F.cross_entropy(logits.flatten(0, 1), nearest.flatten()),
    }
