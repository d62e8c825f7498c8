"""Video-Swin: windows, seams, and what a small map does to them."""

import pytest
import torch
from torch import nn

from mmvl.layers import VideoSwin
from mmvl.layers.video_swin import PatchMerging, SwinBlock, WindowAttention, relative_position_index

WINDOW = (2, 3, 3)


def block(shifted: bool, window: tuple[int, int, int] = WINDOW) -> SwinBlock:
    torch.manual_seed(0)
    found = SwinBlock(8, 2, window, shifted, 2, 0.0).eval()
    nn.init.normal_(found.attn.relative_position_bias_table)
    return found


def reached(found: SwinBlock, size: tuple[int, int, int], token: tuple[int, int, int]) -> set:
    """Tokens of a map whose output depends on one token."""
    x = torch.randn(1, *size, 8)
    changed = x.clone()
    changed[0][token] = torch.randn(8)
    with torch.no_grad():
        moved = (found(changed) - found(x)).abs().amax(-1)[0] > 1e-6
    return set(map(tuple, moved.nonzero().tolist()))


def test_index_numbers_distances() -> None:
    index = relative_position_index((2, 1, 2))
    # rows: frame distance -1, 0, 1; columns: distance -1, 0, 1
    assert index.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_one_window_is_plain_attention_with_a_bias() -> None:
    attention = WindowAttention(8, 2, WINDOW)
    nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(1, 1, 1, 1, 18, 8)
    q, k, v = attention.qkv(x[0, 0, 0, 0]).view(18, 3, 2, 4).permute(1, 2, 0, 3)
    bias = torch.zeros(2, 18, 18)
    places = [(t, h, w) for t in range(2) for h in range(3) for w in range(3)]
    for i, a in enumerate(places):
        for j, b in enumerate(places):
            t, h, w = (m - n for m, n in zip(a, b, strict=True))
            row = ((t + 1) * 5 + h + 2) * 5 + w + 2
            bias[:, i, j] = attention.relative_position_bias_table[row]
    weights = (q @ k.transpose(1, 2) / 2 + bias).softmax(-1)
    expected = attention.proj((weights @ v).transpose(0, 1).flatten(1))
    actual = attention(x, [None, None, None])[0, 0, 0, 0]
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_a_token_reaches_its_window() -> None:
    first = {(t, h, w) for t in range(2) for h in range(3) for w in range(3)}
    assert reached(block(False), (4, 6, 6), (1, 2, 0)) == first
    # the last window is filled up with zeros
    assert reached(block(False), (3, 4, 6), (2, 3, 0)) == {(2, 3, 0), (2, 3, 1), (2, 3, 2)}


def test_a_shifted_window_does_not_reach_over_the_seam() -> None:
    # shifted by (1, 1, 1): frames {0}, {1, 2}, {3}; rows and columns {0}, {1, 2, 3}, {4, 5}
    found = block(True)
    assert reached(found, (4, 6, 6), (0, 0, 0)) == {(0, 0, 0)}
    assert reached(found, (4, 6, 6), (3, 5, 0)) == {(3, 4, 0), (3, 5, 0)}
    expected = {(t, h, w) for t in (1, 2) for h in (4, 5) for w in (1, 2, 3)}
    assert reached(found, (4, 6, 6), (1, 4, 3)) == expected


def test_an_axis_that_one_window_holds_is_not_shifted() -> None:
    expected = {(t, h, 0) for t in range(2) for h in range(3)}
    assert reached(block(True), (2, 3, 6), (0, 1, 0)) == expected


def test_a_cut_window_takes_the_corner_of_the_index() -> None:
    """As released: with 2 columns, token 2 is (0, 1, 0), but gets the bias of (0, 0, 2)."""
    attention = WindowAttention(8, 2, WINDOW)
    nn.init.normal_(attention.relative_position_bias_table)
    nn.init.zeros_(attention.qkv.weight)
    nn.init.zeros_(attention.qkv.bias)
    bias = attention.relative_position_bias_table[relative_position_index(WINDOW)[:12, :12]]
    values = torch.randn(12, 8)
    with torch.no_grad():
        attention.qkv.weight[16:] = torch.eye(8)
        nn.init.eye_(attention.proj.weight)
        nn.init.zeros_(attention.proj.bias)
        found = attention(values[None, None, None, None], [None, None, None])
    weights = bias.permute(2, 0, 1).softmax(-1)
    expected = (weights @ values.view(12, 2, 4).transpose(0, 1)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(found[0, 0, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_merging_takes_rows_first() -> None:
    merging = PatchMerging(1)
    merging.norm = nn.Identity()
    merging.reduction = nn.Identity()
    x = torch.arange(6.0).view(1, 1, 2, 3, 1)
    assert merging(x).flatten(0, 3).tolist() == [[0, 3, 1, 4], [2, 5, 0, 0]]


@pytest.mark.parametrize('size', [(1, 32, 32), (5, 70, 50)])
def test_a_map_for_every_frame_at_four_strides(size: tuple[int, int, int]) -> None:
    backbone = VideoSwin(8, (1, 1, 2, 1), (1, 2, 4, 8), WINDOW).eval()
    frames, height, width = size
    with torch.no_grad():
        maps = backbone(torch.randn(2, frames, 3, height, width))
    for i, each in enumerate(maps):
        rows, columns = (-(-side // 2 ** (i + 2)) for side in (height, width))
        assert each.shape == (2 * frames, 8 * 2**i, rows, columns)


def test_checkpointing_changes_no_gradient() -> None:
    torch.manual_seed(0)
    backbone = VideoSwin(8, (1, 2), (1, 2), WINDOW, drop_path_rate=0.0, out_indices=(1,))
    clip = torch.randn(1, 3, 3, 24, 40)
    gradients = []
    for backbone.with_cp in (False, True):
        backbone.zero_grad()
        backbone(clip)[0].square().sum().backward()
        gradients.append([p.grad.clone() for p in backbone.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)
