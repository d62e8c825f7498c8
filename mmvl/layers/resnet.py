"""ResNet with frozen batch norms that are folded into the convolutions as it runs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from mmvl.registry import MODELS

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def folded_conv(x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> Tensor:
    """Apply a convolution and the frozen norm behind it as one convolution.

    The norm is a constant affine map, so scaling the kernel gives the same function and the same
    gradients while the two passes of the norm over every feature map disappear.
    """
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * scale
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(
        x, weight, bias.to(weight.dtype), conv.stride, conv.padding, conv.dilation, conv.groups
    )


class FoldedBottleneck(Bottleneck):
    """The bottleneck of torchvision with every norm folded into its convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 4 * planes, H / stride, W / stride)."""
        out = folded_conv(x, self.conv1, self.bn1).relu_()
        out = folded_conv(out, self.conv2, self.bn2).relu_()
        out = folded_conv(out, self.conv3, self.bn3)
        if self.downsample is not None:
            x = folded_conv(x, *self.downsample)
        # in place: a convolution keeps its input for the backward pass, not its output
        return out.add_(x).relu_()


@MODELS.register_module()
class FrozenResNet(ResNet):
    """ResNet-50, -101 or -152 with frozen batch norms, as the DETR family uses it.

    Parameters and buffers have torchvision's names. The norms are buffers: they neither train nor
    count as parameters.

    Args:
        depth: 50, 101 or 152.
        frozen_stages: the stem and this many stages get no gradient; 0 freezes the stem alone.
        out_indices: stages whose maps are given, of 0 (stride 4) to 3 (stride 32).

    Raises:
        ValueError: the depth is not one of the three.
    """

    def __init__(
        self, depth: int = 50, frozen_stages: int = 1, out_indices: Sequence[int] = (3,)
    ) -> None:
        if depth not in BLOCKS:
            raise ValueError(f'FrozenResNet has depth {sorted(BLOCKS)}, not {depth}')
        super().__init__(FoldedBottleneck, list(BLOCKS[depth]), norm_layer=FrozenBatchNorm2d)
        del self.avgpool, self.fc
        self.out_indices = tuple(out_indices)
        frozen = [self.conv1, *(getattr(self, f'layer{i}') for i in range(1, frozen_stages + 1))]
        for module in frozen:
            module.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Map (B, 3, H, W) normalised RGB to maps (B, 256 * 2**i, H / 4 / 2**i, W / 4 / 2**i).

        One for each i of ``out_indices``.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(folded_conv(x, self.conv1, self.bn1).relu_())
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return tuple(maps[i] for i in self.out_indices)
