"""ReferFormer: the sentence is the query that finds its object in every frame of a clip.

Letters in shapes: B clips, T frames, N = B * T, H and W of the padded frames, Q queries, D decoder
layers, C channels, h and w of the masks at stride 4, S cells of all levels.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmvl.layers import MLP
from mmvl.registry import MODELS, TASK_UTILS
from mmvl.structures import cxcywh_to_xyxy, xyxy_to_cxcywh
from mmvl.video.preprocessing import ClipPreprocessor
from mmvl.video.structures import ClipDataSample

from .convert import LAYOUTS
from .geometry import lay_out, valid_area
from .losses import ClipOutputs, ClipTargets, thin_masks
from .mask_head import STRIDE, DynamicMaskHead
from .pixel_decoder import CrossModalFPN, EarlyFusion, TextResizer, Words
from .transformer import FRAMES_AT_ONCE, DeformableTransformer

MODES = ('video', 'windows', 'frame')
# prior probability of the focal loss: scores start from here
PRIOR = 0.01


@dataclass
class ClipState:
    """What is known of a batch before its masks are made.

    Attributes:
        logits: (D, B, T, Q).
        boxes: (D, B, T, Q, 4) cxcywh in 0-1 of the un-padded frame.
        states: (D, B, T, Q, C) of the queries.
        features: (N, C, h, w) of which masks are made.
        size: (B, 2) width and height of the un-padded frames.
    """

    logits: Tensor
    boxes: Tensor
    states: Tensor
    features: Tensor
    size: Tensor


@MODELS.register_module()
class ReferFormer(BaseModel):
    """Language as queries for video segmentation (Wu et al., CVPR 2022, arXiv 2201.00487).

    Samples with a ``target`` (A2D, JHMDB) are trained and, with mode 'frame', predicted for that
    one frame: the others reach it through a backbone that reads clips, and are not computed at all
    by one that reads images.

    Args:
        text_encoder: config of an encoder with a sentence feature, such as ``RobertaText``.
        backbone: config of a backbone that gives four maps, strides 4 to 32, of frames
            (``FrozenResNet``, ``mmdet.SwinTransformer``) or of clips (``VideoSwin``).
        in_channels: channels of the four maps.
        num_queries: queries Q.
        embed_dims: channels C.
        num_heads: attention heads.
        ffn_dims: hidden channels of the feed-forward networks.
        encoder_layers: layers of the encoder.
        decoder_layers: layers D of the decoder.
        dropout: of the transformer and the pixel decoder.
        freeze_text: do not train the text encoder. Its dropout still acts in training, as in the
            released code.
        criterion: config of a :class:`ReferFormerCriterion`.
        test_cfg: ``mode``: 'video' sees a video whole and chooses the query by its mean score;
            'windows' goes through it in clips of ``window`` frames (36), each with a query of its
            own, and gives ``pred_probs`` too, so that the memory does not grow with the video;
            'frame' gives all queries of the one annotated frame. ``threshold``: probability above
            which a pixel belongs to the referent (0.5).
        data_preprocessor: config; normalises and pads. 'video' and 'windows' cut the padding off.

    Raises:
        ValueError: an unknown mode of ``test_cfg``.
    """

    layouts: ClassVar[dict[str, tuple[str, ...]]] = LAYOUTS

    def __init__(
        self,
        text_encoder: dict[str, Any],
        backbone: dict[str, Any],
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        num_queries: int = 5,
        embed_dims: int = 256,
        num_heads: int = 8,
        ffn_dims: int = 2048,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        dropout: float = 0.1,
        freeze_text: bool = False,
        criterion: dict[str, Any] | None = None,
        test_cfg: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(MODELS.build(data_preprocessor or {'type': ClipPreprocessor}))
        self.test_cfg = {'mode': 'video', 'window': 36, 'threshold': 0.5, **(test_cfg or {})}
        if self.test_cfg['mode'] not in MODES:
            raise ValueError(f"test_cfg.mode is one of {MODES}, not '{self.test_cfg['mode']}'")
        self.text_encoder = MODELS.build(text_encoder)
        self.freeze_text = freeze_text
        if freeze_text:
            self.text_encoder.requires_grad_(False)
        self.backbone = MODELS.build(backbone)
        self.resizer = TextResizer(self.text_encoder.embed_dims, embed_dims)
        self.input_proj = _projections(in_channels, embed_dims)
        self.fusion = EarlyFusion(embed_dims, num_heads)
        self.query_embed = nn.Embedding(num_queries, embed_dims)
        self.transformer = DeformableTransformer(
            embed_dims, num_heads, ffn_dims, encoder_layers, decoder_layers, dropout
        )
        self.class_embed, self.bbox_embed = _heads(embed_dims, decoder_layers)
        channels = [in_channels[0], embed_dims, embed_dims, embed_dims]
        self.pixel_decoder = CrossModalFPN(channels, embed_dims, num_heads, ffn_dims, dropout)
        self.mask_head = DynamicMaskHead(embed_dims)
        self.criterion = TASK_UTILS.build({'type': 'ReferFormerCriterion', **(criterion or {})})

    def forward(
        self, inputs: Tensor, data_samples: list[ClipDataSample], mode: str = 'tensor'
    ) -> ClipOutputs | dict[str, Tensor] | list[ClipDataSample]:
        """Run the model.

        Args:
            inputs: (B, T, 3, H, W) float32, normalised and padded.
            data_samples: B samples with their sentence in ``text`` and (h, w) of the un-padded
                frames in ``img_shape``; with ``gt_masks``, ``gt_boxes`` and ``gt_valid`` for
                'loss', ``ori_shape`` for 'predict'.
            mode: 'tensor' gives :class:`ClipOutputs`; 'loss' gives named losses; 'predict' fills
                in the predictions as :class:`ClipDataSample` describes them.

        Raises:
            ValueError: another mode, or a sentence is empty.
        """
        if mode == 'predict':
            if self.test_cfg['mode'] == 'frame':
                return self._predict_frames(inputs, data_samples)
            for clip, sample in zip(inputs, data_samples, strict=True):
                self._predict_video(clip, sample)
            return data_samples
        if mode not in ('tensor', 'loss'):
            raise ValueError(f"mode is 'tensor', 'loss' or 'predict', not '{mode}'")
        state = self._understand(inputs, data_samples)
        outputs = ClipOutputs(state.logits, state.boxes, self._masks(state, slice(None)))
        if mode == 'tensor':
            return outputs
        return self.criterion(outputs, _targets(data_samples, outputs))

    def _understand(
        self, inputs: Tensor, samples: list[ClipDataSample], words: Words | None = None
    ) -> ClipState:
        """Everything but the masks.

        With ``words``, those of the samples, targets do not count: every frame is answered.
        """
        clips = len(inputs)
        targets = [None if words else sample.get('target') for sample in samples]
        words = words or self._read([sample.text for sample in samples])
        maps = self._maps(inputs, targets)
        frames = len(maps[0]) // clips
        shapes = [sample.img_shape for sample in samples]
        levels = [
            proj(each) for proj, each in zip(self.input_proj, [*maps[1:], maps[3]], strict=True)
        ]
        sizes = [tuple(each.shape[-2:]) for each in (maps[0], *levels)]
        geometry = lay_out(sizes, valid_area(shapes, inputs), levels[0], frames, levels[0].shape[1])
        deep = geometry.of(slice(1, None))

        cells = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
        # one attention to the words for all levels of all frames
        cells = self.fusion(cells.unflatten(0, (clips, -1)).flatten(1, 2), words).view(cells.shape)
        memory = self.transformer.encode(cells, deep)
        query = self.query_embed.weight
        target = words.sentence.repeat_interleave(frames, 0)[:, None].expand(-1, len(query), -1)
        states, boxes = self.transformer.decode(memory, deep, target, query, self.bbox_embed)
        logits = torch.stack(
            [head(state)[..., 0] for head, state in zip(self.class_embed, states, strict=True)]
        )

        numbers = [rows * columns for rows, columns in deep.sizes]
        pyramid = [
            part.transpose(1, 2).unflatten(2, size)
            for part, size in zip(memory.split(numbers, 1), deep.sizes, strict=True)
        ][:3]
        features = self.pixel_decoder([maps[0], *pyramid], geometry.of(slice(4)), words)
        size = torch.tensor(shapes, dtype=boxes.dtype, device=boxes.device).flip(1)
        logits, boxes, states = (
            each.unflatten(1, (clips, frames)) for each in (logits, boxes, states)
        )
        return ClipState(logits, boxes, states, features, size)

    def _read(self, texts: list[str]) -> Words:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_text):
            words, valid, sentence = self.text_encoder(texts)
        return Words(self.resizer(words), valid, self.resizer(sentence))

    def _maps(self, inputs: Tensor, targets: list[int | None]) -> list[Tensor]:
        """Four maps (N, channels, rows, columns); of the target frames alone where given."""
        single = None
        if all(target is not None for target in targets):
            single = torch.arange(len(inputs)), torch.tensor(targets)
        if getattr(self.backbone, 'temporal', False):
            maps = self.backbone(inputs)
            if single is None:
                return list(maps)
            return [each.unflatten(0, inputs.shape[:2])[single] for each in maps]
        frames = inputs.flatten(0, 1) if single is None else inputs[single]
        if torch.is_grad_enabled():
            return list(self.backbone(frames))
        parts = [self.backbone(part) for part in frames.split(FRAMES_AT_ONCE)]
        return [torch.cat(each) for each in zip(*parts, strict=True)]

    def _masks(self, state: ClipState, layers: slice, queries: slice = slice(None)) -> Tensor:
        """(D, B, T, Q, h, w) logits of some layers and queries."""
        states = state.states[layers, ..., queries, :]
        # no gradient from the masks to the boxes round which they are made
        centres = state.boxes[layers, ..., queries, :2].detach() * state.size[:, None, None]
        shape = states.shape[:-1]
        # layers beside the queries: (B, T, D, Q) -> (N, D * Q)
        flat = (x.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1, 2) for x in (states, centres))
        masks = self.mask_head(*flat, state.features)
        layered = masks.view(*shape[1:3], shape[0], shape[3], *masks.shape[-2:])
        return layered.permute(2, 0, 1, 3, 4, 5)

    def _predict_video(self, clip: Tensor, sample: ClipDataSample) -> None:
        """Fill in the predictions for all frames of a padded clip (T, 3, H, W)."""
        height, width = sample.img_shape
        clip = clip[: len(sample.frame_names), :, :height, :width]
        windows = self.test_cfg['mode'] == 'windows'
        length = self.test_cfg['window'] if windows else len(clip)
        words = self._read([sample.text])
        masks, probs, boxes, scores, queries = [], [], [], [], []
        for part in clip.split(length):
            state = self._understand(part[None], [sample], words)
            score = state.logits[-1, 0].float().sigmoid()
            best = int(score.mean(0).argmax())
            boxes.append(state.boxes[-1, 0, :, best].float())
            scores.append(score[:, best])
            queries.append(torch.full((len(part),), best))
            logits = self._masks(state, slice(-1, None), slice(best, best + 1))[0, 0, :, 0]
            for each in _enlarge(logits, sample.ori_shape):
                masks.append(each > self.test_cfg['threshold'])
                if windows:
                    probs.append(each)
        sample.pred_masks = torch.cat(masks)
        if windows:
            sample.pred_probs = torch.cat(probs)
        sample.pred_boxes = _to_pixels(torch.cat(boxes), sample.ori_shape)
        sample.pred_scores = torch.cat(scores)
        sample.pred_queries = torch.cat(queries)

    def _predict_frames(
        self, inputs: Tensor, samples: list[ClipDataSample]
    ) -> list[ClipDataSample]:
        """Fill in all queries of the annotated frame, and the best one as the prediction.

        Masks are made binary at the size of the network's input, as in the released code.
        """
        state = self._understand(inputs, samples)
        if state.logits.shape[2] != 1:
            raise ValueError(
                f"test_cfg.mode 'frame' needs one frame or a 'target', got {inputs.shape[1]} frames"
                "\nWhat to do: use mode 'video' or 'windows' for videos."
            )
        logits = self._masks(state, slice(-1, None))[0, :, 0]
        scores = state.logits[-1, :, 0].float().sigmoid()
        large = F.interpolate(logits, scale_factor=STRIDE, mode='bilinear').sigmoid()
        for i, sample in enumerate(samples):
            height, width = sample.img_shape
            inside = (large[i, :, :height, :width] > self.test_cfg['threshold']).float()
            sample.query_masks = F.interpolate(inside[None], sample.ori_shape)[0] > 0
            sample.query_scores = scores[i]
            best = int(scores[i].argmax())
            sample.pred_masks = sample.query_masks[best, None]
            sample.pred_scores = scores[i, best, None]
            boxes = state.boxes[-1, i, :, best].float()
            sample.pred_boxes = _to_pixels(boxes, sample.ori_shape)
        return samples


def _projections(in_channels: Sequence[int], embed_dims: int) -> nn.ModuleList:
    """From the maps of strides 8, 16 and 32, and once more from the last to stride 64."""
    convs = [nn.Conv2d(dims, embed_dims, 1) for dims in in_channels[1:]]
    convs.append(nn.Conv2d(in_channels[-1], embed_dims, 3, stride=2, padding=1))
    projections = nn.ModuleList()
    for conv in convs:
        nn.init.xavier_uniform_(conv.weight)
        conv.bias = nn.Parameter(torch.zeros(embed_dims))
        projections.append(nn.Sequential(conv, nn.GroupNorm(32, embed_dims)))
    return projections


def _heads(embed_dims: int, layers: int) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Score and box heads. All layers start alike, but the first one's boxes start small."""
    classes, boxes = nn.Linear(embed_dims, 1), MLP(embed_dims, embed_dims, 4, 3)
    nn.init.constant_(classes.bias, -math.log((1 - PRIOR) / PRIOR))
    last = nn.Linear(embed_dims, 4)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    boxes.layers[-1] = last
    all_boxes = [copy.deepcopy(boxes) for _ in range(layers)]
    first = copy.deepcopy(last)
    nn.init.constant_(first.bias[2:], -2.0)
    all_boxes[0].layers[-1] = first
    return nn.ModuleList(copy.deepcopy(classes) for _ in range(layers)), nn.ModuleList(all_boxes)


def _targets(samples: list[ClipDataSample], outputs: ClipOutputs) -> ClipTargets:
    frames, size = outputs.logits.shape[2], outputs.masks.shape[-2:]
    boxes, masks, valid = [], [], []
    for sample in samples:
        # a clip with a target may still carry all of its frames
        one = frames == 1 and len(sample.gt_valid) > 1
        kept = slice(sample.target, sample.target + 1) if one else slice(None)
        height, width = sample.img_shape
        scale = sample.gt_boxes.new_tensor([width, height] * 2)
        boxes.append(xyxy_to_cxcywh(sample.gt_boxes[kept] / scale))
        masks.append(sample.gt_masks[kept])
        valid.append(sample.gt_valid[kept])
    return ClipTargets(torch.stack(boxes), thin_masks(masks, size), torch.stack(valid))


def _enlarge(logits: Tensor, size: Sequence[int]) -> Iterator[Tensor]:
    """Probabilities (t, *size) of (T, h, w) logits, some frames at a time."""
    for part in logits.split(FRAMES_AT_ONCE):
        yield F.interpolate(part[:, None], tuple(size), mode='bilinear')[:, 0].sigmoid()


def _to_pixels(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """(..., 4) cxcywh in 0-1 as xyxy in pixels of frames of a shape (H, W)."""
    return cxcywh_to_xyxy(boxes) * boxes.new_tensor([shape[1], shape[0]] * 2)
