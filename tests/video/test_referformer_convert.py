"""Weights of others become those of ReferFormer, with nothing missing or left over."""

import argparse

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvl.engine import load_checkpoint_file
from mmvl.layers import FrozenResNet
from mmvl.video.referformer import ReferFormer
from mmvl.video.referformer.convert import (
    convert_backbone,
    convert_file,
    convert_released,
    convert_roberta,
    convert_start,
)


def tiny() -> ReferFormer:
    torch.manual_seed(0)
    text = {
        'type': 'RobertaText', 'vocab': '', 'num_hidden_layers': 1, 'hidden_size': 32,
        'num_attention_heads': 2, 'intermediate_size': 32, 'vocab_size': 13,
    }  # fmt: skip
    backbone = {
        'type': 'VideoSwin', 'embed_dims': 8, 'depths': (1, 1, 2, 1), 'num_heads': (1, 1, 2, 2),
        'window': (2, 3, 3),
    }  # fmt: skip
    return ReferFormer(
        text, backbone, (8, 16, 32, 64), embed_dims=32, num_heads=4, ffn_dims=32,
        encoder_layers=1, decoder_layers=2,
    )  # fmt: skip


def released(model: ReferFormer) -> dict[str, torch.Tensor]:
    """The weights under released names, with what released files hold beside them."""
    own = {
        'text_encoder.roberta.': 'text_encoder.', 'fusion.': 'fusion_module.',
        'mask_head.controller.': 'controller.', 'backbone.': 'backbone.0.body.',
    }  # fmt: skip
    found = {}
    for name, value in model.state_dict().items():
        for ours, theirs in own.items():
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
        part, level, *rest = name.removeprefix('pixel_decoder.').split('.')
        if part in ('lateral', 'output'):
            kind = {'lateral': 'adapter', 'output': 'layer'}[part]
            norm = 'norm.' if rest[0] == '1' else ''
            name = f'pixel_decoder.{kind}_{int(level) + 1}.{norm}{rest[1]}'
        elif part == 'blocks':
            inner = '.'.join(rest).replace('cross_attn', 'multihead_attn')
            name = f'pixel_decoder.cross_attn_{int(level) + 1}.{inner}'
        found[name] = value
        if name.startswith('bbox_embed.'):
            found[f'transformer.decoder.{name}'] = value
    found['text_encoder.embeddings.position_ids'] = torch.arange(20)[None]
    found['backbone.0.body.total_ops'] = torch.zeros(1)
    return found


def test_a_released_file_becomes_a_file_of_ours(tmp_path):
    model = tiny()
    state = released(model)
    index = 'backbone.0.body.layers.0.blocks.0.attn.relative_position_index'
    state[index] = torch.zeros(18, 18, dtype=torch.int64)
    args = argparse.Namespace(backbone='video_swin_t_p4w7', lr=1e-4)
    content = {'model': state, 'optimizer': {}, 'lr_scheduler': {}, 'epoch': 5, 'args': args}
    torch.save(content, tmp_path / 'released.pth')
    convert_file('referformer', tmp_path / 'released.pth', tmp_path / 'ours.safetensors')
    ours = load_checkpoint_file(tmp_path / 'ours.safetensors')['state_dict']
    assert ours.keys() == model.state_dict().keys()
    assert all(torch.equal(ours[k], v) for k, v in model.state_dict().items())
    with pytest.raises(ValueError, match="'detr.head.weight' is no key"):
        convert_released({**state, 'detr.head.weight': torch.zeros(1)})


def test_a_fine_tuning_starts_without_score_heads():
    model = tiny()
    own = model.state_dict()
    expected = {name for name in own if not name.startswith('class_embed.')}
    assert len(own) - len(expected) == 4
    for found in (convert_start(released(model)), convert_start(own)):
        assert found.keys() == expected
        assert all(torch.equal(found[name], own[name]) for name in expected)


def test_pretrained_backbones_and_text_become_parts():
    model = tiny()
    state = {f'backbone.{k}': v for k, v in model.backbone.state_dict().items()}
    kinetics = {
        name.replace('downsamples.0', 'layers.0.downsample')
        .replace('downsamples.1', 'layers.1.downsample')
        .replace('downsamples.2', 'layers.2.downsample'): value
        for name, value in state.items()
    }
    kernel = 'backbone.patch_embed.proj.weight'
    kinetics[kernel] = torch.cat([state[kernel] * 0.25, state[kernel] * 0.75], 2)
    kinetics |= {'backbone.norm.weight': torch.ones(64), 'cls_head.fc_cls.bias': torch.ones(4)}
    found = convert_backbone(kinetics)
    assert found.keys() == state.keys()
    assert all(torch.allclose(found[k], v) for k, v in state.items())
    resnet = {k: v for k, v in FrozenResNet(50).state_dict().items()}
    found = convert_backbone({**resnet, 'fc.weight': torch.ones(1)})
    assert found.keys() == {f'backbone.{k}' for k in resnet}
    text = {f'roberta.{k}': v for k, v in model.text_encoder.roberta.state_dict().items()}
    found = convert_roberta({**text, 'lm_head.bias': torch.ones(1)})
    assert found.keys() == {f'text_encoder.{k}' for k in text}
    with pytest.raises(ValueError, match='is it a Swin or a ResNet'):
        convert_backbone(text)
    with pytest.raises(ValueError, match='is it a RoBERTa'):
        convert_roberta(state)


def test_patches_of_swin_are_merged_in_the_order_of_mmdet():
    from mmdet.models.layers import PatchMerging

    torch.manual_seed(0)
    merging = PatchMerging(4, 8).eval()
    nn.init.normal_(merging.norm.weight)
    x = torch.randn(1, 6, 4, 4)
    parts = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    weights = {
        'patch_embed.proj.weight': torch.randn(4, 3, 4, 4),
        'layers.0.downsample.norm.weight': torch.randn(16),
        'layers.0.downsample.norm.bias': torch.randn(16),
        'layers.0.downsample.reduction.weight': torch.randn(8, 16),
        'layers.0.blocks.0.attn.qkv.weight': torch.randn(12, 4),
        'layers.0.blocks.0.mlp.fc1.bias': torch.randn(16),
        'layers.0.blocks.0.mlp.fc2.bias': torch.randn(4),
    }
    found = convert_backbone(weights)
    assert set(found) == {
        'backbone.patch_embed.projection.weight',
        'backbone.stages.0.downsample.norm.weight',
        'backbone.stages.0.downsample.norm.bias',
        'backbone.stages.0.downsample.reduction.weight',
        'backbone.stages.0.blocks.0.attn.w_msa.qkv.weight',
        'backbone.stages.0.blocks.0.ffn.layers.0.0.bias',
        'backbone.stages.0.blocks.0.ffn.layers.1.bias',
    }
    prefix = 'backbone.stages.0.downsample.'
    merging.load_state_dict({k.removeprefix(prefix): v for k, v in found.items() if prefix in k})
    norm, bias, reduction = list(weights.values())[1:4]
    expected = F.linear(F.layer_norm(torch.cat(parts, -1), (16,), norm, bias), reduction)
    actual, size = merging(x.flatten(1, 2), (6, 4))
    assert size == (3, 2)
    torch.testing.assert_close(actual.view(1, 3, 2, 8), expected)
