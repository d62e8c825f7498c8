"""ALOcc's head: one learnt prototype for each class, for voxels and for image cells.

Letters in shapes: B samples, N cameras, C channels, K classes, Q = K + 1 prototypes, X Y Z voxels,
h x w cells of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvl.layers import MLP
from mmvl.occupancy.datasets.classes import MOVABLE, OCC3D
from mmvl.occupancy.structures import IGNORED_VOXEL, OccupancySample
from mmvl.registry import MODELS

from .flow_head import ALOccFlowHead
from .losses import MaskLoss, class_weights, counts_of, flow_losses, sampling_weights

KEYS: Final = [
    (r'^alocc_head\.query_feat\.', 'head.prototypes.'),
    (r'^alocc_head\.post_norm\.', 'head.norm.'),
    (r'^alocc_head\.mask_embed\.0\.', 'head.voxel_embed.layers.0.'),
    (r'^alocc_head\.mask_embed\.2\.', 'head.voxel_embed.layers.1.'),
    (r'^alocc_head\.mask_embed\.4\.', 'head.voxel_embed.layers.2.'),
    (r'^alocc_head\.mask_embed2\.0\.', 'head.image_embed.layers.0.'),
    (r'^alocc_head\.mask_embed2\.2\.', 'head.image_embed.layers.1.'),
    (r'^alocc_head\.mask_embed2\.4\.', 'head.image_embed.layers.2.'),
    (r'^alocc_head\.cost_volum_net\.', 'head.flow_head.cost_net.'),
    (r'^alocc_head\.flow_post_conv\.', 'head.flow_head.merge.'),
    (r'^alocc_head\.flow_predicter\.', 'head.flow_head.predictor.'),
]
"""Names of released weights, and where they stand in the model."""


@MODELS.register_module()
class ALOccHead(BaseModule):
    """Masks of all classes as inner products with their prototypes; flow where asked for.

    Args:
        channels: C of the volume.
        classes: names in the order of their labels, free space last.
        class_counts: voxels of each class in the training labels; those of Occ3D-nuScenes if None.
            A class without any cannot be learnt, and is never predicted.
        context_channels: channels of the image features that the prototypes are trained on too;
            None for none.
        num_points: voxels that the loss of a class looks at.
        num_image_points: image cells likewise.
        image_weight: of the losses on image cells.
        image_label_map: number of a class of the image cells -> label, 255 for none. None takes
            them as they are. The released flow models have None, so that cells with classes of
            Occ3D train prototypes of OpenOcc; ``datasets.classes.OCC3D_TO_OPENOCC`` is right.
        sampling_power: of the class frequency, when points are drawn.
        mask_loss: further arguments of :class:`MaskLoss`.
        flow_head: config of an :class:`ALOccFlowHead`, or None.
        movable: names of the classes whose flow is trained.

    Source: arXiv 2411.07725, sections 3.3 and 3.4; official code for what they leave open.
    """

    def __init__(
        self,
        channels: int = 48,
        classes: Sequence[str] = OCC3D,
        class_counts: Mapping[str, float] | None = None,
        context_channels: int | None = 32,
        num_points: int = 25088,
        num_image_points: int = 1056,
        image_weight: float = 0.1,
        image_label_map: Sequence[int] | None = None,
        sampling_power: float = 0.25,
        mask_loss: Mapping[str, Any] | None = None,
        flow_head: dict[str, Any] | None = None,
        movable: Sequence[str] = MOVABLE,
    ) -> None:
        super().__init__()
        self.num_points, self.num_image_points = num_points, num_image_points
        self.image_weight, self.image_label_map = image_weight, image_label_map
        self.movable = [name in movable for name in classes]
        counts = counts_of(classes, class_counts)
        self.register_buffer('unlearnt', counts == 0, persistent=False)
        counts = counts.clamp(min=1)
        self.mask_loss = MaskLoss(
            class_weights(counts), sampling_weights(counts, sampling_power), **(mask_loss or {})
        )
        # the first is of no class: released weights hold it
        self.prototypes = nn.Embedding(len(classes) + 1, channels)
        self.norm = nn.LayerNorm(channels)
        self.voxel_embed = MLP(channels, channels, channels, 3)
        self.image_embed = (
            MLP(channels, channels, context_channels, 3) if context_channels else None
        )
        self.flow_head: ALOccFlowHead | None = MODELS.build(flow_head) if flow_head else None

    def forward(
        self, volume: Tensor, poses: Tensor, bda: Tensor, starts: Tensor
    ) -> dict[str, Tensor | None]:
        """Predict masks and flow.

        Args:
            volume: (B, C, Y, X, Z) float.
            poses: (B, 4, 4) float64, ego to global.
            bda: (B, 3, 3) float, augmentation of the ego frame.
            starts: (B,) bool, whether a sequence begins.

        Returns:
            ``mask_logits`` (B, Q, Y, X, Z); ``flow`` (B, Y, X, Z, 2) m/s along y and x, or None.
        """
        flow = self.flow_head(volume, poses, bda, starts).flow if self.flow_head else None
        return {'mask_logits': self.voxel_logits(volume), 'flow': flow}

    def voxel_logits(self, volume: Tensor) -> Tensor:
        """Mask logits (B, Q, Y, X, Z) of a volume (B, C, Y, X, Z)."""
        prototypes = self.voxel_embed(self.norm(self.prototypes.weight))
        return torch.einsum('qc,bcyxz->bqyxz', prototypes, volume)

    def image_logits(self, context: Tensor) -> Tensor:
        """Mask logits (B, Q, N, h, w) of image features (B, N, C', h, w)."""
        if self.image_embed is None:
            raise ValueError('a head without context_channels has no prototypes for images')
        prototypes = self.image_embed(self.norm(self.prototypes.weight))
        return torch.einsum('qc,bnchw->bqnhw', prototypes, context)

    def loss(
        self,
        volume: Tensor,
        context: Tensor | None,
        samples: Sequence[OccupancySample],
        poses: Tensor,
        bda: Tensor,
        starts: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            volume: (B, C, Y, X, Z) float.
            context: (B, N, C', h, w) image features; None leaves their loss out.
            samples: with ``gt_semantics``; with ``image_semantics`` where ``context`` is given,
                with ``gt_flow`` where there is a flow head.
            poses: as for :meth:`forward`.
            bda: likewise.
            starts: likewise.
            generator: draws the points of the losses; torch's own if None.

        Returns:
            ``loss_mask``, ``loss_dice``; for images the same behind ``img_seg_``; for flow
            ``loss_flow``, ``loss_flow_cosine``, ``bin_ce_loss``.
        """
        # files have x first, volumes y
        labels = torch.stack([sample.gt_semantics for sample in samples]).transpose(1, 2)
        losses = self.mask_loss(
            self.voxel_logits(volume)[:, 1:], labels, self.num_points, generator
        )
        if context is not None and self.image_embed is not None:
            cells = torch.stack([sample.image_semantics for sample in samples])
            found = self.mask_loss(
                self.image_logits(context)[:, 1:],
                self._image_labels(cells),
                self.num_image_points,
                generator,
            )
            losses |= {f'img_seg_{name}': self.image_weight * found[name] for name in found}
        if self.flow_head is not None:
            flow = self.flow_head(volume, poses, bda, starts, labels)
            target, valid = self._flow_targets(samples, labels)
            losses |= flow_losses(flow.flow, flow.logits, target, valid, self.flow_head.bins)
        return losses

    def _image_labels(self, cells: Tensor) -> Tensor:
        """Labels of image cells, 255 for none."""
        if self.image_label_map is None:
            return cells
        table = cells.new_full((IGNORED_VOXEL + 1,), IGNORED_VOXEL)
        table[: len(self.image_label_map)] = cells.new_tensor(self.image_label_map)
        return table[cells]

    def _flow_targets(
        self, samples: Sequence[OccupancySample], labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """True flow (B, Y, X, Z, 2) along y and x, and where (B, Y, X, Z) it counts."""
        # files have x first here too, and the velocity along x
        target = torch.stack([sample.gt_flow for sample in samples]).transpose(1, 2).flip(-1)
        movable = labels.new_zeros(IGNORED_VOXEL + 1, dtype=torch.bool)
        movable[: len(self.movable)] = labels.new_tensor(self.movable, dtype=torch.bool)
        return target, movable[labels] & target.isfinite().all(-1)

    @torch.no_grad()
    def predict(
        self, volume: Tensor, poses: Tensor, bda: Tensor, starts: Tensor
    ) -> list[tuple[Tensor, Tensor | None]]:
        """Decide for a class, and give the flow, in the order of the label files.

        Args:
            volume: as for :meth:`forward`, like the rest.
            poses: likewise.
            bda: likewise.
            starts: likewise.

        Returns:
            For each sample (X, Y, Z) uint8, and (X, Y, Z, 2) float32 m/s along x and y or None.
        """
        found = self(volume, poses, bda, starts)
        # equal probabilities, which large logits have, go to the first class
        scores = found['mask_logits'][:, 1:].float().sigmoid()
        scores[:, self.unlearnt] = -1
        semantics = scores.argmax(1)
        semantics = semantics.transpose(1, 2).to(torch.uint8).contiguous()
        flow = found['flow']
        if flow is None:
            return [(each, None) for each in semantics]
        flow = flow.float().transpose(1, 2).flip(-1).contiguous()
        return list(zip(semantics, flow, strict=True))

    def reset_state(self, slots: Sequence[int] | None = None) -> None:
        """Forget the past of the flow head, as :meth:`TemporalModule.reset_state` does."""
        if self.flow_head is not None:
            self.flow_head.reset_state(slots)

    def temporal_state(self) -> dict[str, Tensor]:
        """Copy the past of the flow head; empty where there is none."""
        return {} if self.flow_head is None else self.flow_head.temporal_state()

    def load_temporal_state(self, state: Mapping[str, Tensor]) -> None:
        """Give the flow head a past back."""
        if self.flow_head is not None:
            self.flow_head.load_temporal_state(state)
