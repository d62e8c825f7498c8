"""VG-LAW against a float64 NumPy transcription of the released MindSpore cells, and against the
implementations of ViTDet and BERT in transformers on the same weights.

``data/vg_law.npz`` holds outputs only; inputs and weights grow from their names and a seed. The
transcription follows dcdcvgroup/vglaw-mindspore: ``model_law.py`` and ``cross_attn.py``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from common import seeded
from torch import nn

from mmvl.grounding.vg_law.backbone import AdaptiveViTDet
from mmvl.grounding.vg_law.generator import WeightGenerator
from mmvl.grounding.vg_law.heads import BoxHead, MaskHead, resize_logits
from mmvl.language.bert import BertText

GOLDEN = np.load(Path(__file__).parent / 'data' / 'vg_law.npz')
DIMS, LAYERS, RANK, BATCH, TOKENS, SIDE = 48, 3, 8, 2, 7, 4
SCALES = {
    'left': 0.3, 'right': 0.3, 'q_proj.weight': 0.3, 'k_proj.weight': 0.3,
    'up_sample.0.weight': DIMS**-0.5, 'up_sample.0.bias': 0.1, 'up_sample.1.bias': 0.1,
    'up_sample.3.weight': 1 / 16, 'up_sample.3.bias': 0.1, 'mlp.layers.0.weight': DIMS**-0.5,
    'mlp.layers.1.weight': 1 / 16, 'mlp.layers.2.weight': 1 / 16,
    **{f'mlp.layers.{i}.bias': 0.1 for i in range(3)},
    **{f'proj.{i}.{part}': 0.3 for i in range(LAYERS)
       for part in ('0.weight', '3.weight', '3.bias')},
}  # fmt: skip


def fill(module: nn.Module, seed: int) -> nn.Module:
    state = {
        name: seeded(
            name.removeprefix('aggregation.'), tuple(value.shape), seed, SCALES.get(name, 1.0)
        )
        for name, value in module.state_dict().items()
    }
    module.load_state_dict(state)
    return module.eval()


def close(found: torch.Tensor, name: str, seed: int) -> None:
    expected = torch.from_numpy(GOLDEN[f'{name}_{seed}'])
    torch.testing.assert_close(found.detach(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('seed', range(4))
def test_generator_and_heads_agree_with_the_transcription(seed: int) -> None:
    words = seeded('words', (BATCH, TOKENS, DIMS), seed)
    valid = torch.arange(TOKENS)[None] < torch.tensor([TOKENS, 4])[:, None]
    generator = fill(WeightGenerator(LAYERS, DIMS, DIMS, rank=RANK), seed)
    features = generator.aggregation(words, valid)
    close(features, 'aggregated', seed)
    values = torch.stack([p(h) for p, h in zip(generator.proj, features, strict=True)])
    close(values, 'values', seed)
    qkv = nn.Linear(DIMS, 3 * DIMS)
    qkv.load_state_dict(
        {
            'weight': seeded('qkv.weight', (3 * DIMS, DIMS), seed, 0.2),
            'bias': seeded('qkv.bias', (3 * DIMS,), seed),
        }
    )
    tokens = seeded('tokens', (BATCH, SIDE, SIDE, DIMS), seed).flatten(1, 2)
    close(generator(words, valid)[1](tokens, qkv), 'qkv', seed)
    image = seeded('features', (BATCH, DIMS, SIDE, SIDE), seed)
    close(fill(BoxHead(DIMS, DIMS), seed)(image, words[:, 0]), 'box', seed)
    logits = fill(MaskHead(DIMS, DIMS), seed)(image, words[:, 0])
    close(logits, 'logit', seed)
    close(resize_logits(logits, 16 * SIDE), 'resized', seed)


def vitdet(side: int, **changes: object) -> tuple[nn.Module, AdaptiveViTDet]:
    """transformers' ViTDet and ours with its weights, for images of ``side`` patches of 8."""
    from transformers import VitDetConfig, VitDetModel

    config = VitDetConfig(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=4, patch_size=8, window_size=7,
        image_size=8 * side, pretrain_image_size=8 * 6, window_block_indices=[0, 2],
        use_relative_position_embeddings=True, layer_norm_eps=1e-6, drop_path_rate=0.0,
    )  # fmt: skip
    theirs = VitDetModel(config).eval()
    torch.manual_seed(0)
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.2)
    ours = AdaptiveViTDet(
        image_size=8 * side, patch_size=8, embed_dims=48, depth=4, num_heads=4, window=7,
        global_blocks=(1, 3), drop_path_rate=0.0, pretrain_grid=6,
    ).eval()  # fmt: skip
    names = {
        'embeddings.position_embeddings': 'pos_embed',
        'embeddings.projection': 'patch_embed.proj',
        'encoder.layer.': 'blocks.',
        'attention.': 'attn.',
    }
    state = {}
    for name, value in theirs.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = value
    ours.load_state_dict(state)
    return theirs, ours


@pytest.mark.parametrize('side', [14, 10])
def test_blocks_agree_with_vitdet(side: int) -> None:
    """Windows that fit, and windows of which the last ones are padded."""
    theirs, ours = vitdet(side)
    images = torch.randn(2, 3, 8 * side, 8 * side)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        torch.testing.assert_close(ours(images), expected, rtol=1e-4, atol=1e-4)


def test_bert_agrees_with_transformers(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'man', 'in', 'red', '##dish']
    (tmp_path / 'vocab.txt').write_text('\n'.join(words) + '\n')
    sizes = {'hidden_size': 24, 'num_attention_heads': 2, 'intermediate_size': 48}
    ours = BertText(
        str(tmp_path / 'vocab.txt'), num_layers=2, vocab_size=len(words), **sizes
    ).eval()
    theirs = BertModel(
        BertConfig(vocab_size=len(words), num_hidden_layers=2, **sizes), add_pooling_layer=False
    ).eval()
    theirs.load_state_dict(ours.bert.state_dict())
    texts = ['The man in red', 'reddish unknown']
    features, valid = ours(texts)
    # as published: every sentence padded to 40 tokens
    ids = torch.zeros(2, 40, dtype=torch.int64)
    ids[0, :6] = torch.tensor([2, 5, 6, 7, 8, 3])
    ids[1, :5] = torch.tensor([2, 8, 9, 1, 3])
    expected = theirs(ids, attention_mask=(ids > 0).long()).last_hidden_state
    assert valid.tolist() == [[True] * 6, [True] * 5 + [False]]
    for i, length in enumerate((6, 5)):
        torch.testing.assert_close(features[i, :length], expected[i, :length], rtol=1e-4, atol=1e-5)
