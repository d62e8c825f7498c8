"""The cases on which ReferFormer is compared with its released code (``make_referformer.py``)."""

from dataclasses import dataclass

import torch
from common import seeded, seeded_weights
from torch import Tensor

# a small RoBERTa of the published width, so that a test need not run twelve layers
TEXT = {
    'vocab_size': 120,
    'hidden_size': 768,
    'num_hidden_layers': 2,
    'num_attention_heads': 12,
    'intermediate_size': 512,
    'max_position_embeddings': 40,
    'type_vocab_size': 1,
    'layer_norm_eps': 1e-5,
    'pad_token_id': 1,
    'bos_token_id': 0,
    'eos_token_id': 2,
}
# token ids of two sentences of different length, <s> ... </s>
TOKENS = ((0, 41, 17, 93, 8, 66, 25, 2), (0, 12, 57, 30, 2))
PAD = 1
# every third pixel from the second on, rows and columns, of a mask map is kept
MASK_START, MASK_STRIDE = 1, 3

# what keeps boxes inside the frame, masks soft, and float32 noise under the tolerance of a test
SCALES = {
    'controller.layers.2.weight': 0.08,
    'bbox_embed.': 0.7,
    'reference_points': 0.3,
    'output_proj': 0.4,
    'mask_features.weight': 4.0,
    'sampling_offsets': 0.5,
    'attention_weights': 0.3,
}


@dataclass(frozen=True)
class Case:
    """A batch of clips.

    Attributes:
        sizes: (h, w) of the frames of each clip.
        frames: Frames of a clip.
        divisor: The batch is padded bottom and right to multiples of this.
        annotated: Position of the annotated frame of each clip (A2D, JHMDB), or none.
    """

    sizes: tuple[tuple[int, int], ...]
    frames: int = 5
    divisor: int = 32
    annotated: tuple[int, ...] | None = None


CASES = {
    # clips of different sizes in one batch, as in training
    'padded': Case(((96, 128), (75, 109))),
    'even': Case(((96, 128), (96, 128))),
    # inference pads nothing, and no published frame size divides by 32
    'odd': Case(((90, 122),), divisor=1),
    'annotated': Case(((96, 128), (75, 109)), annotated=(3, 1)),
    # windows of Video-Swin that are shifted in space and in time
    'long': Case(((64, 68),), frames=10, divisor=1),
    'large': Case(((240, 288),), divisor=1),
}
BACKBONES = {
    'resnet50': ('padded', 'even', 'odd', 'annotated'),
    'swin_t_p4w7': ('padded', 'even', 'odd'),
    'video_swin_t_p4w7': ('padded', 'even', 'odd', 'annotated', 'long', 'large'),
}


def clips(name: str) -> list[Tensor]:
    """Normalised frames of the clips of a case, each (T, 3, h, w) float32."""
    case = CASES[name]
    found = []
    for i, (height, width) in enumerate(case.sizes):
        grid = (case.frames, 3, -(-height // 16), -(-width // 16))
        blocks = seeded(f'{name}/blocks{i}', grid).repeat_interleave(16, 2).repeat_interleave(16, 3)
        noise = seeded(f'{name}/noise{i}', (case.frames, 3, height, width), scale=0.5)
        found.append(blocks[:, :, :height, :width] + noise)
    return found


def tokens(name: str) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask (1 = word), both (B, L) int64, one sentence a clip."""
    sentences = TOKENS[: len(CASES[name].sizes)]
    length = max(map(len, sentences))
    ids = torch.tensor([[*s, *[PAD] * (length - len(s))] for s in sentences])
    return ids, (ids != PAD).long()


def referformer_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights under the released names: queries differ, masks and scores are not saturated.

    Buffers of integers (``relative_position_index``) are left out: they follow from the shapes.
    """
    shapes = {k: v for k, v in shapes.items() if not k.endswith('relative_position_index')}
    state = seeded_weights(shapes, seed)
    for name, shape in shapes.items():
        is_group_norm = name.startswith('input_proj') and '.1.' in name
        if 'LayerNorm' in name or is_group_norm:
            offset = 1.0 if name.endswith('.weight') else 0.0
            state[name] = offset + seeded(name, shape, seed, 0.1)
        elif name == 'transformer.level_embed':
            state[name] = seeded(name, shape, seed, 0.5)
        elif any(part in name for part in SCALES):
            state[name] = state[name] * next(v for k, v in SCALES.items() if k in name)
    for name in shapes:
        # the released model holds these tensors under two names
        if name.startswith('transformer.decoder.bbox_embed'):
            state[name] = state[name.removeprefix('transformer.decoder.')]
    return state


def thinned(masks: Tensor) -> Tensor:
    """The part of mask maps (..., h, w) that the golden file keeps."""
    return masks[..., MASK_START::MASK_STRIDE, MASK_START::MASK_STRIDE]


def _blob(generator: torch.Generator, size: tuple[int, int]) -> Tensor:
    """A filled ellipse inside the frame, (h, w) float32 of 0 and 1."""
    height, width = size
    centre = torch.rand(2, generator=generator) * 0.5 + 0.25
    radius = torch.rand(2, generator=generator) * 0.15 + 0.08
    rows = (torch.arange(height) / height - centre[0]) / radius[0]
    columns = (torch.arange(width) / width - centre[1]) / radius[1]
    return ((rows[:, None] ** 2 + columns[None] ** 2) < 1).float()


def _box(mask: Tensor) -> Tensor:
    """cxcywh of a mask in parts of its size; the last row and column count inclusively."""
    height, width = mask.shape
    rows, columns = mask.nonzero().unbind(1)
    corners = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()]).float()
    corners = corners / torch.tensor([width, height, width, height])
    return torch.cat([(corners[:2] + corners[2:]) / 2, corners[2:] - corners[:2]])


def criterion_case(
    seed: int, num_classes: int = 1, num_layers: int = 4, frames: int = 5, queries: int = 5
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Predictions of all layers and targets of two clips, under the released names.

    Every odd seed has one frame without the object in the first clip, every third seed has only
    one frame with it in the second.

    Returns:
        ``pred_logits`` (layers, B, T, Q, K), ``pred_boxes`` (layers, B, T, Q, 4) cxcywh in parts
        of the frame and ``pred_masks`` (layers, B, T, Q, 24, 32) logits; one dict a clip of
        ``masks`` (T, h, w) float 0/1, ``boxes`` (T, 4), ``labels`` (T,), ``valid`` (T,) int64 and
        ``size`` (2,). An absent object has an empty mask and a box of zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = ((96, 128), (75, 109))
    targets = []
    for clip, size in enumerate(sizes):
        masks = torch.stack([_blob(generator, size) for _ in range(frames)])
        valid = torch.ones(frames, dtype=torch.int64)
        if clip == 0 and seed % 2:
            valid[seed % frames] = 0
        if clip == 1 and seed % 3 == 0:
            valid[:] = 0
            valid[(seed // 3) % frames] = 1
        masks = masks * valid[:, None, None]
        boxes = torch.stack([_box(m) if m.any() else torch.zeros(4) for m in masks])
        label = int(torch.randint(num_classes, (), generator=generator))
        targets.append(
            {
                'masks': masks,
                'boxes': boxes,
                'labels': torch.full((frames,), label),
                'valid': valid,
                'size': torch.tensor(size),
            }
        )

    def normal(*shape: int) -> Tensor:
        return torch.randn((num_layers, len(sizes), frames, queries, *shape), generator=generator)

    coarse = torch.zeros(len(sizes), frames, 24, 32)
    for clip, target in enumerate(targets):
        part = target['masks'][:, 2::4, 2::4]
        coarse[clip, :, : part.shape[1], : part.shape[2]] = part
    # each query follows the object with a strength of its own, each layer in another order
    strength = torch.rand(num_layers, len(sizes), 1, queries, 1, 1, generator=generator)
    boxes = torch.stack([t['boxes'] for t in targets])[None, :, :, None]
    noise = normal(4) * 0.5 * (1.2 - strength[..., 0])
    predictions = {
        'pred_logits': normal(num_classes) * 2 - 2,
        'pred_boxes': (torch.logit(boxes.clamp(0.05, 0.95)) + noise).sigmoid(),
        'pred_masks': normal(24, 32) + 4 * strength * (coarse[None, :, :, None] - 0.5),
    }
    return predictions, targets
