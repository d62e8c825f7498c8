"""VG-LAW: one image, one sentence, one box and one mask, without a fusion encoder.

Letters in shapes: B images, S side of the padded square, H and W of an image on disk.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor

from mmvl.registry import MODELS
from mmvl.structures import ReferringDataSample, cxcywh_to_xyxy, xyxy_to_cxcywh

from .convert import LAYOUTS
from .generator import WeightGenerator
from .heads import BoxHead, MaskHead, resize_logits
from .losses import box_losses, mask_losses


@MODELS.register_module()
class VGLAW(BaseModel):
    """Visual grounding by language-adaptive weights (Su et al., CVPR 2023, arXiv 2306.04652).

    The sentence changes the projections of the vision transformer, so that the backbone itself
    looks for the referent; two light heads read its last map.

    Args:
        text_encoder: config of a text encoder that gives word features, such as ``BertText``.
        backbone: config of an ``AdaptiveViTDet``.
        variant: how the weights depend on the sentence, see :class:`WeightGenerator`; ``'svd'`` is
            the published one, ``'static'`` leaves the backbone alone (the baseline).
        rank: of the generated change.
        groups: of variant ``'la'``.
        generator_heads: heads of the linguistic aggregation.
        generator_reduction: text channels over the generator's hidden channels; 16 is published. A
            narrow text encoder needs less, or whole sentences must share a few channels.
        with_mask: build the mask head and train it; samples need masks then.
        mask_dims: channels between the two up-samplings of the mask head.
        mask_threshold: probability above which a pixel belongs to the referent; 0.35 is published.
        loss_weights: factor of ``loss_l1``, ``loss_giou``, ``loss_focal``, ``loss_dice``; 1 each.
        data_preprocessor: config; normalises and pads into the square.
    """

    layouts: ClassVar[dict[str, tuple[str, ...]]] = LAYOUTS

    def __init__(
        self,
        text_encoder: dict[str, Any],
        backbone: dict[str, Any],
        variant: str = 'svd',
        rank: int = 32,
        groups: int = 1,
        generator_heads: int = 12,
        generator_reduction: int = 16,
        with_mask: bool = True,
        mask_dims: int = 256,
        mask_threshold: float = 0.35,
        loss_weights: dict[str, float] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or {'type': 'SquarePreprocessor'}))
        self.text_encoder = MODELS.build(text_encoder)
        self.visual_encoder = MODELS.build(backbone)
        text_dims, embed_dims = self.text_encoder.embed_dims, self.visual_encoder.embed_dims
        self.weight_generator = None
        if variant != 'static':
            depth = len(self.visual_encoder.blocks)
            self.weight_generator = WeightGenerator(
                depth,
                text_dims,
                embed_dims,
                variant,
                rank,
                groups,
                generator_heads,
                generator_reduction,
            )
        self.box_head = BoxHead(text_dims, embed_dims)
        self.mask_head = MaskHead(text_dims, embed_dims, mask_dims) if with_mask else None
        self.mask_threshold = mask_threshold
        self.loss_weights = loss_weights or {}

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[ReferringDataSample],
        mode: str = 'tensor',
    ) -> Any:
        """Run the model.

        Args:
            inputs: (B, 3, S, S) float32, normalised and padded.
            data_samples: B samples with their sentence in ``text``; with ``gt_box`` and ``gt_mask``
                for 'loss'.
            mode: 'tensor' gives boxes (B, 4) cxcywh in 0-1 of the square and mask logits (B, S, S)
                or None; 'loss' gives named losses; 'predict' fills ``pred_box``, ``pred_mask`` and
                ``pred_square_mask``.

        Raises:
            ValueError: another mode, or a sentence is empty.
        """
        boxes, logits = self._ground(inputs, [sample.text for sample in data_samples])
        if mode == 'tensor':
            return boxes, logits
        if mode == 'loss':
            return self._losses(boxes, logits, data_samples)
        if mode == 'predict':
            return self._predict(boxes, logits, data_samples)
        raise ValueError(f"mode '{mode}' is none of tensor, loss, predict")

    def _ground(self, images: Tensor, texts: list[str]) -> tuple[Tensor, Tensor | None]:
        words, valid = self.text_encoder(texts)
        adapted = None if self.weight_generator is None else self.weight_generator(words, valid)
        features = self.visual_encoder(images, adapted)
        sentence = words[:, 0]
        boxes = self.box_head(features, sentence)
        if self.mask_head is None:
            return boxes, None
        return boxes, resize_logits(self.mask_head(features, sentence), images.shape[-1])

    def _losses(
        self, boxes: Tensor, logits: Tensor | None, samples: list[ReferringDataSample]
    ) -> dict[str, Tensor]:
        side = samples[0].square
        target = torch.stack([sample.gt_box for sample in samples]) / side
        losses = box_losses(boxes, xyxy_to_cxcywh(target))
        if logits is not None:
            masks = torch.stack([sample.gt_mask for sample in samples])
            losses.update(mask_losses(logits, masks.to(logits.dtype)))
        return {name: self.loss_weights.get(name, 1.0) * value for name, value in losses.items()}

    def _predict(
        self, boxes: Tensor, logits: Tensor | None, samples: list[ReferringDataSample]
    ) -> list[ReferringDataSample]:
        corners = cxcywh_to_xyxy(boxes.float()) * samples[0].square
        for i, sample in enumerate(samples):
            sample.pred_box = to_original(corners[i], sample)
            if logits is not None:
                probability = logits[i].float().sigmoid()
                sample.pred_square_mask = probability > self.mask_threshold
                mask = mask_to_original(logits[i].float(), sample).sigmoid() > self.mask_threshold
                sample.pred_mask = mask
        return samples


def to_original(box: Tensor, sample: ReferringDataSample) -> Tensor:
    """Move a (4,) xyxy box from the padded square to the image on disk, cut to its borders."""
    top, left = sample.pad_offset
    (height, width), (rows, columns) = sample.ori_shape, sample.img_shape
    scale = box.new_tensor([width / columns, height / rows] * 2)
    limit = box.new_tensor([width, height] * 2)
    moved = (box - box.new_tensor([left, top] * 2)) * scale
    return torch.minimum(moved.clamp(min=0), limit)


def mask_to_original(logits: Tensor, sample: ReferringDataSample) -> Tensor:
    """Cut the image out of (S, S) logits of the square and resize it to (H, W), bilinear."""
    top, left = sample.pad_offset
    rows, columns = sample.img_shape
    inside = logits[top : top + rows, left : left + columns]
    return F.interpolate(inside[None, None], sample.ori_shape, mode='bilinear')[0, 0]
