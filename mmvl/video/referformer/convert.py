"""Weights of others, turned into those of ReferFormer."""

import re
from pathlib import Path

from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, save_converted, state_dict_of

# Released pattern -> ours; the first that fits the beginning of a name.
NAMES = (
    (r'backbone\.0\.body\.', 'backbone.'),
    (r'text_encoder\.', 'text_encoder.roberta.'),
    (r'fusion_module\.', 'fusion.'),
    (r'controller\.', 'mask_head.controller.'),
    (r'pixel_decoder\.adapter_(\d)\.norm\.', 'pixel_decoder.lateral.{}.1.'),
    (r'pixel_decoder\.adapter_(\d)\.', 'pixel_decoder.lateral.{}.0.'),
    (r'pixel_decoder\.layer_(\d)\.norm\.', 'pixel_decoder.output.{}.1.'),
    (r'pixel_decoder\.layer_(\d)\.', 'pixel_decoder.output.{}.0.'),
    (r'pixel_decoder\.cross_attn_(\d)\.multihead_attn\.', 'pixel_decoder.blocks.{}.cross_attn.'),
    (r'pixel_decoder\.cross_attn_(\d)\.', 'pixel_decoder.blocks.{}.'),
    (r'pixel_decoder\.mask_features\.', 'pixel_decoder.mask_features.'),
    (r'transformer\.', 'transformer.'),
    (r'input_proj\.', 'input_proj.'),
    (r'resizer\.', 'resizer.'),
    (r'class_embed\.', 'class_embed.'),
    (r'bbox_embed\.', 'bbox_embed.'),
    (r'query_embed\.', 'query_embed.'),
)
# What a released file holds twice, counts, or could not but have.
LEFT_OUT = (
    r'transformer\.decoder\.bbox_embed\.',
    r'text_encoder\.embeddings\.position_ids$',
    r'.*\btotal_(ops|params)$',
    r'.*num_batches_tracked$',
)
# names of Swin as released -> in mmdet
SWIN_NAMES = (
    ('layers.', 'stages.'),
    ('.attn.', '.attn.w_msa.'),
    ('.mlp.fc1.', '.ffn.layers.0.0.'),
    ('.mlp.fc2.', '.ffn.layers.1.'),
    ('patch_embed.proj.', 'patch_embed.projection.'),
)
LAYOUTS: dict[str, tuple[str, ...]] = {
    'ReferFormer': (
        *('backbone.', 'text_encoder.roberta.', 'fusion.', 'pixel_decoder.blocks.', 'mask_head.'),
        *('transformer.', 'input_proj.', 'class_embed.', 'bbox_embed.', 'resizer.'),
    ),
    "ReferFormer as released, for 'mmvl convert referformer'": (
        *('backbone.0.body.', 'text_encoder.', 'fusion_module.', 'controller.', 'transformer.'),
        *('pixel_decoder.adapter_', 'input_proj.', 'class_embed.', 'bbox_embed.', 'resizer.'),
    ),
}
"""Whose checkpoint it is, told from how the names in it begin."""


def convert_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the ``model`` part of a released checkpoint, of any backbone.

    Args:
        state: released names -> tensors.

    Returns:
        Our names -> tensors, the whole model.

    Raises:
        ValueError: a key has no place in ReferFormer; the message names it.
    """
    kept = {k: v for k, v in state.items() if not any(re.match(p, k) for p in LEFT_OUT)}
    ours = {_rename(name): value for name, value in kept.items()}
    body = {k: ours.pop(k) for k in list(ours) if k.startswith('backbone.')}
    return ours | _convert_body({k.removeprefix('backbone.'): v for k, v in body.items()})


def convert_start(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take what a fine-tuning starts from: all of a pre-trained model but its score heads.

    The released fine-tuning makes these anew, also where they have the shape that is needed.

    Args:
        state: names -> tensors, released or of a checkpoint trained here.

    Returns:
        Our names -> tensors.

    Raises:
        ValueError: a key has no place in ReferFormer; the message names it.
    """
    released = any(key.startswith(('backbone.0.', 'controller.')) for key in state)
    ours = convert_released(state) if released else state
    return {name: value for name, value in ours.items() if not name.startswith('class_embed.')}


def convert_backbone(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take a pretrained backbone: a ResNet of torchvision, a Swin, or a Video-Swin.

    A Video-Swin embeds pairs of frames; here each frame is embedded by the sum of the two halves.

    Args:
        state: names -> tensors, with or without ``backbone.``, of a classifier.

    Returns:
        Our names -> tensors, the part ``backbone`` of the model. A Swin lacks the norms behind its
        stages, which classifiers do not have.

    Raises:
        ValueError: there is no such backbone in the dictionary.
    """
    body = {
        name.removeprefix('backbone.'): value
        for name, value in state.items()
        if not re.match(r'(backbone\.)?(norm\.|fc\.|head\.|cls_head\.)', name)
        and not name.endswith(('attn_mask', 'num_batches_tracked'))
    }
    kernel = body.get('patch_embed.proj.weight')
    if kernel is None and 'layer1.0.conv1.weight' not in body:
        raise ValueError("no 'patch_embed.proj' and no 'layer1.0': is it a Swin or a ResNet?")
    if kernel is not None and kernel.dim() == 5:
        body['patch_embed.proj.weight'] = kernel.sum(2, keepdim=True)
        # each stage has it inside
        body = {
            re.sub(r'layers\.(\d)\.downsample\.', r'downsamples.\1.', name): value
            for name, value in body.items()
        }
    return _convert_body(body)


def convert_roberta(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take the encoder and the pooler out of a RoBERTa of transformers.

    Args:
        state: names with or without ``roberta.``.

    Returns:
        Our names -> tensors, the part ``text_encoder`` of the model.

    Raises:
        ValueError: there is no RoBERTa in the dictionary.
    """
    ours = {}
    for key, value in state.items():
        name = key.removeprefix('roberta.')
        if name.startswith(('embeddings.', 'encoder.', 'pooler.')):
            if not name.endswith('position_ids'):
                ours[f'text_encoder.roberta.{name}'] = value
    if not ours:
        raise ValueError("no name begins with 'embeddings.' or 'encoder.': is it a RoBERTa?")
    return ours


def _rename(key: str) -> str:
    for pattern, own in NAMES:
        found = re.match(pattern, key)
        if found:
            # levels count from 1 in released files
            return own.format(*(int(level) - 1 for level in found.groups())) + key[found.end() :]
    raise ValueError(f'{key!r} is no key of a released ReferFormer checkpoint')


def _convert_body(body: dict[str, Tensor]) -> dict[str, Tensor]:
    """Released names of a backbone -> ours, with ``backbone.``."""
    kernel = body.get('patch_embed.proj.weight')
    ours = {}
    for name, value in body.items():
        if kernel is not None and kernel.dim() == 5:
            if name.endswith('relative_position_index'):
                continue
        elif kernel is not None:
            if '.downsample.' in name:
                value = _reorder(value)
            for released, own in SWIN_NAMES:
                name = name.replace(released, own)
        ours[f'backbone.{name}'] = value
    return ours


def _reorder(merged: Tensor) -> Tensor:
    """Channels of 2 x 2 merged patches: patch by patch, rows fastest -> mmdet's channel by channel.

    Args:
        merged: (..., 4 C); mmdet takes the four patches of a channel together, columns fastest.
    """
    patches = merged.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
    return patches.transpose(-1, -2).flatten(-2)


CONVERTERS = {
    'referformer': convert_released,
    'referformer_start': convert_start,
    'referformer_backbone': convert_backbone,
    'roberta': convert_roberta,
}


def convert_file(method: str, source: str | Path, target: str | Path) -> None:
    """Convert a checkpoint to a ``.safetensors`` file that ``load_from`` takes.

    Args:
        method: 'referformer' for a released checkpoint, 'referformer_start' for what a fine-tuning
            starts from, 'referformer_backbone' for a pretrained ResNet, Swin or Video-Swin,
            'roberta' for RoBERTa.
        source: the file; loaded without executing anything in it.
        target: the file to write.

    Raises:
        ValueError: a key is not the method's, or the file is refused.
    """
    state = state_dict_of(load_checkpoint_file(source))
    ours = CONVERTERS[method](state)
    save_converted(ours, len(state), method, source, target)
