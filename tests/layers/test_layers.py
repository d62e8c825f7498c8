"""Layers against the libraries whose parameters they share."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet50
from torchvision.ops import FrozenBatchNorm2d

from mmvl.layers import (
    MLP,
    Attention,
    FrozenResNet,
    TransformerDecoder,
    TransformerEncoder,
    sine_position_encoding,
)


def test_attention_equals_torch_with_the_same_parameters() -> None:
    reference = nn.MultiheadAttention(32, 4, batch_first=True)
    ours = Attention(32, 4)
    nn.init.normal_(reference.in_proj_bias)
    ours.load_state_dict(reference.state_dict())
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[1, 4:] = False
    expected = reference(query, key, value, key_padding_mask=~valid)[0]
    torch.testing.assert_close(ours(query, key, value, valid), expected, rtol=1e-5, atol=1e-6)
    without_padding = reference(query, key, value)[0]
    torch.testing.assert_close(ours(query, key, value), without_padding, rtol=1e-5, atol=1e-6)


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match='30 is not divisible by num_heads 4'):
        Attention(30, 4)


def test_encoder_equals_torch() -> None:
    reference = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True),
        2,
        enable_nested_tensor=False,
    )
    ours = TransformerEncoder(2, 32, 4, 64, dropout=0.0)
    ours.load_state_dict(reference.state_dict())
    tokens = torch.randn(2, 6, 32)
    expected = reference(tokens)
    actual = ours(tokens, torch.zeros_like(tokens))
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_decoder_ignores_padded_tokens_and_normalises_every_layer() -> None:
    decoder = TransformerDecoder(3, 32, 4, 64, dropout=0.0)
    memory, pos, queries = torch.randn(1, 9, 32), torch.randn(1, 9, 32), torch.randn(1, 4, 32)
    valid = torch.arange(9)[None] < 6
    outputs = decoder(queries, memory, pos, valid)
    cut = decoder(queries, memory[:, :6], pos[:, :6])
    torch.testing.assert_close(outputs, cut, rtol=1e-5, atol=1e-5)
    assert outputs.shape == (3, 1, 4, 32)
    torch.testing.assert_close(outputs.mean(-1), torch.zeros(3, 1, 4), rtol=0, atol=1e-5)


def test_position_encoding_depends_on_the_valid_area_alone() -> None:
    small = sine_position_encoding(torch.ones(1, 3, 5, dtype=torch.bool), 8)
    valid = torch.zeros(1, 6, 9, dtype=torch.bool)
    valid[:, :3, :5] = True
    padded = sine_position_encoding(valid, 8)[:, :, :3, :5]
    torch.testing.assert_close(padded, small)
    # the last column of the second half is sin(2 pi) of the slowest wave's neighbourhood
    assert small[0, 8, 0, -1].item() == pytest.approx(0.0, abs=1e-5)
    assert small.shape == (1, 16, 3, 5)


def test_frozen_resnet_equals_torchvision() -> None:
    reference = resnet50(norm_layer=FrozenBatchNorm2d).eval()
    for name, buffer in reference.named_buffers():
        nn.init.uniform_(buffer, 0.5, 1.5) if 'var' in name else nn.init.normal_(buffer, 0, 0.1)
    ours = FrozenResNet(50).eval()
    kept = {k: v for k, v in reference.state_dict().items() if not k.startswith('fc.')}
    ours.load_state_dict(kept)
    image = torch.randn(1, 3, 64, 96)
    stem = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
    expected = reference.layer4(reference.layer3(reference.layer2(reference.layer1(stem))))
    (actual,) = ours(image)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_frozen_resnet_trains_from_layer2_on() -> None:
    model = FrozenResNet(50)
    trained = {name.split('.')[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {'layer2', 'layer3', 'layer4'}
    model(torch.randn(1, 3, 32, 32))[0].sum().backward()
    assert model.conv1.weight.grad is None
    assert model.layer2[0].conv1.weight.grad.abs().sum() > 0


def test_frozen_resnet_refuses_other_depths() -> None:
    with pytest.raises(ValueError, match=r'\[50, 101, 152\], not 18'):
        FrozenResNet(18)


def test_mlp_has_relu_between_and_none_behind() -> None:
    mlp = MLP(2, 3, 1, 2)
    with torch.no_grad():
        mlp.layers[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, -1]]))
        mlp.layers[0].bias.zero_()
        mlp.layers[1].weight.copy_(torch.tensor([[1.0, 1, -5]]))
        mlp.layers[1].bias.fill_(-10)
    assert mlp(torch.tensor([2.0, 3.0])).item() == -5
    assert mlp(torch.tensor([-1.0, -1.0])).item() == -20
