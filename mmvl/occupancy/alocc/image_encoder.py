"""What ALOcc makes of single images: features at stride 16, and at stride 4 for stereo."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmvl.registry import MODELS


@MODELS.register_module()
class CustomFPN(BaseModule):
    """Feature pyramid that gives its finest level alone, as in BEVDet.

    Letters in shapes: B images, C channels, h x w cells of the finest map.

    Args:
        in_channels: channels of the maps, fine to coarse.
        out_channels: channels C.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__(init_cfg={'type': 'Xavier', 'layer': 'Conv2d', 'distribution': 'uniform'})
        self.lateral_convs = nn.ModuleList(nn.Conv2d(n, out_channels, 1) for n in in_channels)
        self.output_conv = nn.Conv2d(out_channels, out_channels, 3, padding=1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map (B, in_channels[i], h / 2**i, w / 2**i), fine to coarse, to (B, C, h, w)."""
        *finer, x = [conv(each) for conv, each in zip(self.lateral_convs, maps, strict=True)]
        for each in reversed(finer):
            x = each + F.interpolate(x, size=each.shape[-2:], mode='nearest')
        return self.output_conv(x)


def first_stage(backbone: Any, images: Tensor) -> Tensor:
    """Run the stem and the first stage of a ResNet alone.

    Args:
        backbone: as mmdet has it.
        images: (B, 3, H, W) normalised.

    Returns:
        (B, 256, H / 4, W / 4).
    """
    if backbone.deep_stem:
        x = backbone.stem(images)
    else:
        x = backbone.relu(backbone.norm1(backbone.conv1(images)))
    return getattr(backbone, backbone.res_layers[0])(backbone.maxpool(x))
