"""Residual stages over the voxels, or over the bird's-eye view, and the necks behind them.

Letters in shapes: B samples, C channels, X Y Z voxels.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models.resnet import BasicBlock

from mmvl.registry import MODELS

VOLUME: Final[dict[str, Any]] = {
    'conv_cfg': {'type': 'Conv3d'},
    'norm_cfg': {'type': 'BN3d'},
    'bias': False,
}
KEYS: Final = [
    (r'^img_bev_encoder_backbone\.', 'voxel_encoder.'),
    (r'^img_bev_encoder_neck\.', 'voxel_neck.'),
    (r'^final_conv\.', 'voxel_neck.final_conv.'),
]
"""Names of released weights, and where they stand in the model."""


class VoxelBlock(nn.Module):
    """Two 3 x 3 x 3 convolutions with a shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels C of the output.
        stride: of the first convolution, in all three directions.
        project: let the shortcut be a 3 x 3 x 3 convolution too.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = ConvModule(in_channels, channels, 3, stride, 1, **VOLUME)
        self.conv2 = ConvModule(channels, channels, 3, 1, 1, act_cfg=None, **VOLUME)
        self.downsample = (
            ConvModule(in_channels, channels, 3, stride, 1, act_cfg=None, **VOLUME)
            if project
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, Y, X, Z) to (B, C, Y / stride, X / stride, Z / stride)."""
        return (self.conv2(self.conv1(x)) + self.downsample(x)).relu_()


@MODELS.register_module()
class VoxelResNet(BaseModule):
    """Stages of residual blocks over a volume; the first shortcut of a stage is a convolution.

    Args:
        in_channels: channels of the volume.
        channels: of each stage.
        blocks: of each stage.
        strides: of the first block of each stage.
        out_indices: stages whose output is given.
        with_cp: compute a stage again for its gradient rather than keep what is inside.

    Source: official code, ``CustomResNet3D``.
    """

    def __init__(
        self,
        in_channels: int,
        channels: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 2, 4, 4),
        strides: Sequence[int] = (1, 2, 2, 2),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.out_indices = tuple(out_indices)
        self.with_cp = with_cp
        stages = []
        for width, count, stride in zip(channels, blocks, strides, strict=True):
            first = self._block(in_channels, width, stride, project=True)
            rest = [self._block(width, width, 1, project=False) for _ in range(count - 1)]
            stages.append(nn.Sequential(first, *rest))
            in_channels = width
        self.layers = nn.Sequential(*stages)

    def _block(self, in_channels: int, channels: int, stride: int, project: bool) -> nn.Module:
        return VoxelBlock(in_channels, channels, stride, project)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Encode a volume.

        Args:
            x: (B, in_channels, Y, X, Z) float.

        Returns:
            (B, C, Y / s, X / s, Z / s) of each stage in ``out_indices``, s its stride.
        """
        found = []
        for index, stage in enumerate(self.layers):
            if self.with_cp and x.requires_grad:
                x = checkpoint(stage, x, use_reentrant=False)
            else:
                x = stage(x)
            if index in self.out_indices:
                found.append(x)
        return found


@MODELS.register_module()
class BEVResNet(VoxelResNet):
    """The same over a bird's-eye view (B, in_channels, Y, X), with torchvision's blocks.

    The first shortcut of a stage is a 3 x 3 convolution with bias and without a norm.

    Source: official code, ``CustomResNet``.
    """

    def _block(self, in_channels: int, channels: int, stride: int, project: bool) -> nn.Module:
        shortcut = nn.Conv2d(in_channels, channels, 3, stride, 1) if project else None
        return BasicBlock(in_channels, channels, stride, downsample=shortcut)


@MODELS.register_module()
class VoxelFPN(BaseModule):
    """All stages at full size, side by side, and a 1 x 1 x 1 convolution.

    Args:
        in_channels: channels of all stages together.
        out_channels: channels C.

    Source: official code, ``LSSFPN3D2``.
    """

    def __init__(self, in_channels: int = 480, out_channels: int = 48) -> None:
        super().__init__()
        self.conv = ConvModule(in_channels, out_channels, 1, **VOLUME)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring maps together.

        Args:
            maps: (B, in_channels[i], Y / s[i], X / s[i], Z / s[i]), the first at full size.

        Returns:
            (B, C, Y, X, Z).
        """
        # A 1 x 1 x 1 convolution commutes with interpolation. Before it there is less to compute,
        # and no volume of 480 channels at full size.
        kernels = self.conv.conv.weight.split([each.shape[1] for each in maps], 1)
        size = maps[0].shape[2:]
        found = F.conv3d(maps[0], kernels[0])
        for each, kernel in zip(maps[1:], kernels[1:], strict=True):
            small = F.conv3d(each, kernel)
            found = found + F.interpolate(small, size, mode='trilinear', align_corners=True)
        return self.conv.activate(self.conv.norm(found))


@MODELS.register_module()
class BEVHeightFPN(BaseModule):
    """All stages at full size, two convolutions, and one that makes the heights of each cell.

    Args:
        in_channels: channels of all stages together.
        mid_channels: channels of the first two convolutions.
        out_channels: channels C.
        height: voxels Z.
        with_cp: compute the convolutions again for their gradient.

    Source: official code, ``FPN_LSS2`` and ``FPN_LSS3``, and the last convolution of the detector.
    """

    def __init__(
        self,
        in_channels: int = 960,
        mid_channels: int = 256,
        out_channels: int = 48,
        height: int = 16,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.height = height
        self.with_cp = with_cp
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid_channels, mid_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(mid_channels),
            nn.ReLU(inplace=True),
        )
        self.final_conv = nn.Conv2d(mid_channels, out_channels * height, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring maps together and give them height.

        Args:
            maps: (B, in_channels[i], Y / s[i], X / s[i]), the first at full size.

        Returns:
            (B, C, Y, X, Z).
        """
        size = maps[0].shape[2:]
        larger = [F.interpolate(x, size, mode='bilinear', align_corners=True) for x in maps[1:]]
        x = torch.cat([maps[0], *larger], 1)
        if self.with_cp and x.requires_grad:
            x = checkpoint(self.conv, x, use_reentrant=False)
        else:
            x = self.conv(x)
        return self.final_conv(x).unflatten(1, (-1, self.height)).movedim(2, -1)
