"""What ALOcc reads from image features: context, depth, and how far matter reaches behind it.

Letters in shapes: B samples, N cameras, C channels, D depth bins, L bins along a ray, h x w cells
of stride 16, H x W cells of stride 4.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from mmvl.registry import MODELS

from .cameras import Cameras, frustum

STRIDE = 16
STEREO_STRIDE = 4
CAMERA_NUMBERS = 27
# channels that are sampled and compared at once
GROUP = 4
ASPP_DILATIONS = (1, 6, 12, 18)
# offsets are learnt in units of so many pixels of the image, and are at most twice that
OFFSET_UNIT = 4.0
NEIGHBOURS = 3
HIDDEN_BINS = 3
# keeps the logarithm of a probability finite
TINY = 1e-8


@dataclass
class DepthPrediction:
    """What the depth net says about the cells of stride 16.

    Attributes:
        context: (B, N, C, h, w) features to lift.
        depth: (B, N, D, h, w) probabilities.
        ray_weights: (B, N, L, h, w) in 0-1, how much of the probability of a bin reaches the bin
            that lies 1 ... L further; None without depth-to-occupancy along rays.
        neighbour_weights: (B, N, 3, 3, 3, h, w) in 0-1: neighbour's column, neighbour's row, bin
            before, at and behind the surface; None without depth-to-occupancy between pixels.
        neighbour_offsets: (B, N, 3, 3, 2, h, w) columns and rows, pixels of the image.
    """

    context: Tensor
    depth: Tensor
    ray_weights: Tensor | None = None
    neighbour_weights: Tensor | None = None
    neighbour_offsets: Tensor | None = None


@MODELS.register_module()
class ALOccDepthNet(BaseModule):
    """Camera-aware context and depth, with a stereo cost volume and occupancy weights.

    Args:
        in_channels: channels of the image features.
        context_channels: channels C to lift.
        depth: nearest depth, farthest depth (not included) and step, metres.
        image_size: height and width of the images, pixels.
        channels: channels inside.
        aspp_channels: channels of a branch of the ASPP.
        stereo: compare with the previous key frame.
        outside_cost: added to the cost where the previous image has nothing to compare.
        ray_bins: L, bins behind a surface that it may fill; 0 for none.
        inter_pixel: predict what fills neighbouring pixels.
        loss_weight: of the depth loss. The released configs of the mini and flow models set 0.05,
            but their code does not read it.

    Source: arXiv 2411.07725, sections 3.1 and 3.2; official code for the layers.
    """

    def __init__(
        self,
        in_channels: int = 256,
        context_channels: int = 32,
        depth: tuple[float, float, float] = (1.0, 45.0, 0.5),
        image_size: tuple[int, int] = (256, 704),
        channels: int = 256,
        aspp_channels: int = 96,
        stereo: bool = True,
        outside_cost: float = 5.0,
        ray_bins: int = 22,
        inter_pixel: bool = True,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.bins = (float(depth[0]), float(depth[2]), len(torch.arange(*depth)))
        self.stereo, self.outside_cost = stereo, outside_cost
        self.ray_bins, self.inter_pixel = ray_bins, inter_pixel
        self.loss_weight = loss_weight
        bins = self.bins[2]
        self.reduce_conv = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.camera_norm = nn.BatchNorm1d(CAMERA_NUMBERS)
        self.context_gate = CameraGate(channels)
        self.context_conv = nn.Conv2d(channels, context_channels, 1)
        self.depth_gate = CameraGate(channels)
        if stereo:
            points = frustum(depth, image_size, STEREO_STRIDE)
            self.register_buffer('stereo_points', points, persistent=False)
            self.cost_net = nn.Sequential(*_halving(bins), *_halving(bins))
            # one for both stacks of blocks, in released weights too
            self.shortcut: nn.Module = nn.Conv2d(channels + bins, channels, 1)
        else:
            self.shortcut = nn.Identity()
        width = channels + bins if stereo else channels
        self.depth_conv = BlockStack(width, channels, bins, ASPP(channels, aspp_channels))
        if ray_bins:
            self.occupancy_conv = BlockStack(width, channels, ray_bins)
        if inter_pixel:
            self.neighbour_weights = nn.Conv2d(channels, NEIGHBOURS**2 * HIDDEN_BINS, 1)
            self.neighbour_offsets = nn.Conv2d(channels, NEIGHBOURS**2 * 2, 1)

    def init_weights(self) -> None:
        """Start with the offsets at the 3 x 3 neighbourhood and equal weights."""
        super().init_weights()
        if self.inter_pixel:
            steps = torch.arange(NEIGHBOURS) - NEIGHBOURS // 2
            for conv, bias in (
                (self.neighbour_weights, torch.zeros(NEIGHBOURS**2 * HIDDEN_BINS)),
                (self.neighbour_offsets, torch.cartesian_prod(steps, steps).flatten().float()),
            ):
                nn.init.kaiming_normal_(conv.weight)
                conv.load_state_dict({'weight': conv.weight, 'bias': bias})

    def forward(
        self, features: Tensor, cameras: Cameras, stereo: tuple[Tensor | None, Tensor] | None = None
    ) -> DepthPrediction:
        """Predict context, depth and occupancy weights.

        Args:
            features: (B, N, C, h, w) of the images.
            cameras: their calibration.
            stereo: features of stride 4 of the previous images, or None where there are none,
                and of the images, (B * N, C, H, W); only with ``stereo``.
        """
        batch = features.shape[:2]
        numbers = self.camera_norm(cameras.vector().flatten(0, 1))
        x = self.reduce_conv(features.flatten(0, 1))
        context = self.context_conv(self.context_gate(x, numbers))
        x = self.depth_gate(x, numbers)
        neighbours = self._neighbours(x) if self.inter_pixel else None
        if self.stereo:
            if stereo is None:
                raise ValueError('a depth net with stereo needs features of stride 4')
            cost = self.cost_volume(*stereo, cameras)
            x = torch.cat([x, self.cost_net(cost)], 1)
        identity = self.shortcut(x)
        depth = self.depth_conv(x, identity).softmax(1)
        found = DepthPrediction(context.unflatten(0, batch), depth.unflatten(0, batch))
        if self.ray_bins:
            found.ray_weights = self.occupancy_conv(x, identity).sigmoid().unflatten(0, batch)
        if neighbours is not None:
            found.neighbour_weights, found.neighbour_offsets = (
                each.unflatten(0, batch) for each in neighbours
            )
        return found

    def _neighbours(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B * N, 3, 3, 3, h, w) and offsets (B * N, 3, 3, 2, h, w), pixels."""
        sides = (NEIGHBOURS, NEIGHBOURS)
        weights = self.neighbour_weights(x).sigmoid().unflatten(1, (*sides, HIDDEN_BINS))
        offsets = (self.neighbour_offsets(x) * OFFSET_UNIT).clamp(-2 * OFFSET_UNIT, 2 * OFFSET_UNIT)
        return weights, offsets.unflatten(1, (*sides, 2))

    @torch.no_grad()
    def cost_volume(self, previous: Tensor | None, current: Tensor, cameras: Cameras) -> Tensor:
        """Compare each cell at each depth with where it was one key frame ago.

        A sequence without a previous frame has no preference for any depth: zeros, as in BEVStereo.

        Args:
            previous: (B * N, C, H, W) or None.
            current: (B * N, C, H, W).
            cameras: of the images.

        Returns:
            (B * N, D, H, W) float32, sums to one over D.
        """
        bins, height, width, _ = self.stereo_points.shape
        if previous is None:
            return current.new_zeros(len(current), bins, height, width)
        points = self.stereo_points.expand(*cameras.intrinsics.shape[:2], -1, -1, -1, -1)
        size = (height * STEREO_STRIDE, width * STEREO_STRIDE)
        grid = cameras.to_previous_image(points, size)
        # depth bins one above another: a plane for grid_sample
        grid = grid.flatten(0, 1).flatten(1, 2)
        cost = grid.new_zeros(len(current), bins, height, width)
        for before, now in zip(previous.split(GROUP, 1), current.split(GROUP, 1), strict=True):
            warped = F.grid_sample(before.float(), grid, align_corners=True)
            warped = warped.unflatten(2, (bins, height))
            cost += (now[:, :, None] - warped).abs().sum(1)
        # told by one channel, as in BEVStereo: it is zero outside, but where it does not fire too
        cost += self.outside_cost * (warped[:, 0] == 0)
        return (-cost).softmax(1)

    def depth_bins(self, depth_map: Tensor) -> Tensor:
        """Find the bin of the nearest LiDAR point of each cell.

        Args:
            depth_map: (B, N, rows, columns) metres, 0 where there is no point, pixels of the image.

        Returns:
            (B, N, h, w) int64 in 0 ... D - 1, -1 where there is no point in range.
        """
        nearest, step, bins = self.bins
        # max pooling of the negative: the smallest depth of a cell
        depth = depth_map.masked_fill(depth_map == 0, torch.inf)
        depth = -F.max_pool2d(-depth.flatten(0, 1), STRIDE).unflatten(0, depth.shape[:2])
        found = (depth - (nearest - step)) / step
        inside = (found >= 0) & (found < bins + 1)
        return torch.where(inside, found, 0.0).long() - 1

    def loss(self, depth: Tensor, depth_bins: Tensor) -> Tensor:
        """Cross entropy of the depth probabilities, mean over cells that have a LiDAR point.

        Args:
            depth: (B, N, D, h, w) probabilities.
            depth_bins: (B, N, h, w) as :meth:`depth_bins` gives them.
        """
        seen = depth_bins >= 0
        chosen = depth.gather(2, depth_bins.clamp(min=0)[:, :, None])[:, :, 0]
        # a batch without points adds nothing, and still has a gradient
        total = -((chosen.float() + TINY).log() * seen).sum() / seen.sum().clamp(min=1)
        return self.loss_weight * total


class CameraGate(nn.Module):
    """Scales channels by numbers of the camera: an MLP, then squeeze-and-excitation.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(CAMERA_NUMBERS, channels), nn.ReLU(), nn.Linear(channels, channels)
        )
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1)
        )

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Scale (B * N, C, h, w) by what (B * N, 27) numbers say."""
        return x * self.gate(self.mlp(numbers)[..., None, None]).sigmoid()


class BlockStack(nn.Module):
    """Three residual blocks of which the first has its shortcut made outside, and a 1 x 1 conv.

    Args:
        in_channels: channels of the input.
        channels: channels inside.
        out_channels: channels of the output.
        extra: module between the blocks and the last convolution.
    """

    def __init__(
        self, in_channels: int, channels: int, out_channels: int, extra: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.first = OpenBlock(in_channels, channels)
        self.blocks = nn.Sequential(BasicBlock(channels, channels), BasicBlock(channels, channels))
        self.extra = extra or nn.Identity()
        self.output = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Map (B * N, in_channels, h, w), with its shortcut, to (B * N, out_channels, h, w)."""
        return self.output(self.extra(self.blocks(self.first(x, identity))))


class OpenBlock(BasicBlock):
    """Residual block of torchvision that is given its shortcut."""

    def forward(self, x: Tensor, identity: Tensor) -> Tensor:
        """Map (B * N, in_channels, h, w) and a shortcut (B * N, C, h, w) to its shape."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + identity)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling that keeps the channels.

    Args:
        channels: channels C of input and output.
        branch_channels: channels of each of the five branches.
    """

    def __init__(self, channels: int, branch_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            _conv_norm(channels, branch_channels, 1 if dilation == 1 else 3, dilation)
            for dilation in ASPP_DILATIONS
        )
        self.pooled = _conv_norm(channels, branch_channels, 1)
        self.output = _conv_norm(branch_channels * (len(ASPP_DILATIONS) + 1), channels, 1)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        pooled = self.pooled(x.mean((-2, -1), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        found = torch.cat([*(branch(x) for branch in self.branches), pooled], 1)
        return self.dropout(self.output(found))


def _conv_norm(in_channels: int, channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, channels, kernel, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def _halving(channels: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels)
