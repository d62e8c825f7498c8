"""Stages and necks: sizes, the order of operations, and gradients."""

import pytest
import torch
from torch import Tensor, nn

from mmvl.occupancy.alocc.voxel_encoder import BEVHeightFPN, BEVResNet, VoxelFPN, VoxelResNet

CHANNELS = (4, 6, 8)
STAGES = {'channels': CHANNELS, 'blocks': (1, 2, 1), 'strides': (1, 2, 2), 'out_indices': (0, 1, 2)}


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(
    ('module', 'expected'),
    [
        (lambda: VoxelResNet(32), 18_227_776),
        (lambda: VoxelResNet(32, (32,), (1,), (1,), (0,)), 83_136),
        (VoxelFPN, 23_136),
    ],
)
def test_published_sizes(module: type[nn.Module], expected: int) -> None:
    assert count(module()) == expected


@pytest.mark.parametrize(
    ('stages', 'neck', 'shape'),
    [
        (VoxelResNet, VoxelFPN(sum(CHANNELS), 5), (2, 3, 8, 12, 4)),
        (BEVResNet, BEVHeightFPN(sum(CHANNELS), 7, 5, height=4), (2, 3, 8, 12)),
    ],
)
def test_volume_keeps_its_size_and_every_weight_learns(
    stages: type[nn.Module], neck: nn.Module, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    encoder = stages(3, **STAGES)
    x = torch.randn(shape, requires_grad=True)
    maps = encoder(x)
    halves = [tuple(size // s for size in shape[2:]) for s in (1, 2, 4)]
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, *size) for width, size in zip(CHANNELS, halves, strict=True)
    ]
    volume = neck(maps)
    assert volume.shape == (2, 5, 8, 12, 4)
    (volume * torch.randn(volume.shape)).sum().backward()
    for module in (encoder, neck):
        for name, value in module.named_parameters():
            assert value.grad is not None and value.grad.abs().max() > 0, name
    assert x.grad.abs().min() > 0


def test_neck_is_the_convolution_of_maps_side_by_side() -> None:
    torch.manual_seed(0)
    neck = VoxelFPN(sum(CHANNELS), 5).eval()
    maps = [
        torch.randn(1, c, 8 // s, 12 // s, 4 // s) for c, s in zip(CHANNELS, (1, 2, 4), strict=True)
    ]
    large = [maps[0]] + [
        nn.functional.interpolate(m, scale_factor=s, mode='trilinear', align_corners=True)
        for m, s in zip(maps[1:], (2, 4), strict=True)
    ]
    torch.testing.assert_close(neck(maps), neck.conv(torch.cat(large, 1)), rtol=0, atol=1e-5)


def test_height_is_the_inner_part_of_the_channels() -> None:
    neck = BEVHeightFPN(2, 3, out_channels=5, height=4).eval()
    x = torch.randn(1, 2, 6, 6)
    flat = neck.final_conv(neck.conv(x))
    torch.testing.assert_close(neck([x])[0, 3, :, :, 2], flat[0, 3 * 4 + 2])


@pytest.mark.parametrize(('stages', 'depth'), [(VoxelResNet, (4,)), (BEVResNet, ())])
def test_computing_again_changes_no_gradient(
    stages: type[nn.Module], depth: tuple[int, ...]
) -> None:
    x = torch.randn(2, 3, 8, 8, *depth)

    def gradients(with_cp: bool) -> list[Tensor]:
        torch.manual_seed(0)
        encoder = stages(3, **STAGES, with_cp=with_cp)
        encoder(x.clone().requires_grad_())[-1].square().sum().backward()
        return [value.grad for value in encoder.parameters()]

    for kept, again in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(kept, again)
