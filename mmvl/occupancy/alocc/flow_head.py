"""Occupancy flow from a local cost volume between two bird's-eye views.

Letters in shapes: B samples, C channels, K classes, X Y Z voxels, W window side, h x w cells of the
halved bird's-eye view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmvl.registry import MODELS

from .history import TemporalModule, index_motion, warp


@dataclass
class FlowPrediction:
    """Velocities of voxels.

    Attributes:
        flow: (B, Y, X, Z, 2) m/s, along y and along x.
        logits: (B, bins, 2, Y, X, Z) of the velocity bins, axes likewise.
    """

    flow: Tensor
    logits: Tensor


@MODELS.register_module()
class ALOccFlowHead(TemporalModule):
    """Compares each cell with its surroundings one frame ago, and chooses among velocities.

    The previous bird's-eye view is moved by the motion of the car, so what still differs has moved
    itself.

    Args:
        channels: C of the volume.
        num_classes: K, for the cost volume of the labels.
        height_range: first voxel and the one behind the last, whose mean is the bird's-eye view.
        window: side W of the window that is searched; odd.
        dilation: cells between two candidates.
        temperature: of the cosine similarity.
        outside_cost: added where a candidate is empty.
        velocities: lowest and highest velocity (not included) and their step, m/s.
        voxel_size: metres, x y. The released head has the default whatever the grid is.
        lower_bound: metres, x y; likewise.
        compare_ignored: what the released weights were trained with: in the cost volume of the
            labels, voxels without a label are a class of their own. False leaves them empty.

    Attributes:
        cost_volume_truth_rate: share of the cost volume of the labels in training; a schedule
            lowers it from 1 to 0.

    Source: arXiv 2411.07725, section 3.4; official code for the layers.
    """

    def __init__(
        self,
        channels: int = 48,
        num_classes: int = 17,
        height_range: tuple[int, int] = (3, 9),
        window: int = 11,
        dilation: int = 2,
        temperature: float = 0.1,
        outside_cost: float = 5.0,
        velocities: tuple[float, float, float] = (-22.0, 22.0, 0.5),
        voxel_size: Sequence[float] = (0.4, 0.4),
        lower_bound: Sequence[float] = (-40.0, -40.0),
        compare_ignored: bool = True,
    ) -> None:
        super().__init__()
        self.num_classes, self.height_range = num_classes, height_range
        self.window, self.dilation = window, dilation
        self.temperature, self.outside_cost = temperature, outside_cost
        self.geometry = voxel_size, lower_bound
        self.compare_ignored = compare_ignored
        self.cost_volume_truth_rate = 1.0
        self.register_buffer('bins', torch.arange(*velocities), persistent=False)
        self.cost_net = nn.Sequential(
            nn.Conv2d(window**2, channels // 2, 3, padding=1), nn.BatchNorm2d(channels // 2)
        )
        self.merge = nn.Sequential(
            nn.Conv3d(channels + channels // 2, channels, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.predictor = nn.Sequential(
            nn.Conv3d(channels, 2 * channels, 1),
            nn.ReLU(inplace=True),
            nn.Conv3d(2 * channels, 2 * len(self.bins), 1),
        )

    def forward(
        self,
        volume: Tensor,
        poses: Tensor,
        bda: Tensor,
        starts: Tensor,
        labels: Tensor | None = None,
    ) -> FlowPrediction:
        """Predict velocities, and keep the bird's-eye view for the next frame.

        Args:
            volume: (B, C, Y, X, Z) float.
            poses: (B, 4, 4) float64, ego to global.
            bda: (B, 3, 3) float, augmentation of the ego frame.
            starts: (B,) bool, whether a sequence begins.
            labels: (B, Y, X, Z) int64 classes, from K on no label; only looked at in training.

        Raises:
            ValueError: another number of samples than before, though not all of them begin.
        """
        cost = self.match(volume, poses, bda, starts, labels if self.training else None)
        cost = self.cost_net((-cost).softmax(1).to(volume.dtype))
        cost = F.interpolate(cost, volume.shape[2:4], mode='bilinear', align_corners=True)
        cost = cost[..., None].expand(-1, -1, -1, -1, volume.shape[4])
        logits = self.predictor(self.merge(torch.cat([cost, volume], 1)))
        logits = logits.unflatten(1, (len(self.bins), 2))
        # half precision is too coarse for velocities
        with torch.autocast(volume.device.type, enabled=False):
            flow = torch.einsum('bkayxz,k->byxza', logits.float().softmax(1), self.bins)
        return FlowPrediction(flow, logits)

    @torch.no_grad()
    def match(
        self,
        volume: Tensor,
        poses: Tensor,
        bda: Tensor,
        starts: Tensor,
        labels: Tensor | None = None,
    ) -> Tensor:
        """Compare with the previous frame.

        Args:
            volume: as for :meth:`forward`, like the rest.
            poses: likewise.
            bda: likewise.
            starts: likewise.
            labels: likewise, or None to compare features alone.

        Returns:
            (B, W * W, h, w) cost of each candidate, row by row.
        """
        low, high = self.height_range
        current = {'features': volume[..., low:high].float().mean(-1)}
        if labels is not None:
            current['labels'] = self._shares(labels[..., low:high])
        state, starts = self._begin(poses, starts)
        self._remember(poses=poses, bda=bda, **current)
        rate = self.cost_volume_truth_rate if labels is not None else 0.0
        costs = [
            share
            * self._cost(current[name], self._previous(name, current, state, (poses, bda, starts)))
            for name, share in (('features', 1 - rate), ('labels', rate))
            if share
        ]
        return torch.stack(costs).sum(0)

    def _previous(
        self,
        name: str,
        current: dict[str, Tensor],
        state: dict[str, Tensor],
        now: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """What was seen a frame ago, moved to where it is now; the present where none was seen."""
        poses, bda, starts = now
        if name not in state or bool(starts.all()):
            return current[name]
        matrix = index_motion(state['poses'], poses, state['bda'], bda, *self.geometry)
        found = warp(state[name], matrix)
        found[starts] = current[name][starts]
        return found

    def _shares(self, labels: Tensor) -> Tensor:
        """Share of each class in columns of labels: (B, K + 1, Y, X) of (B, Y, X, height)."""
        shares = F.one_hot(labels.clamp(max=self.num_classes), self.num_classes + 1).float()
        shares = shares.mean(3).movedim(-1, 1)
        return shares if self.compare_ignored else shares[:, :-1]

    def _cost(self, current: Tensor, previous: Tensor) -> Tensor:
        """Cost (B, W * W, h, w) of the candidates, of (B, C, Y, X) features."""
        size = [side // 2 for side in current.shape[2:]]
        current, previous = (
            F.interpolate(x, size, mode='bilinear', align_corners=True) for x in (current, previous)
        )
        reach = self.dilation * (self.window // 2)
        empty = (previous.sum(1, keepdim=True) == 0).float()
        windows = self._windows(F.pad(F.normalize(previous), [reach] * 4))
        empty = self._windows(F.pad(empty, [reach] * 4, value=1.0))
        # a row of candidates at a time, which is an eleventh of the memory
        now = F.normalize(current)[:, :, None]
        similarity = torch.cat([(now * windows[:, :, i]).sum(1) for i in range(self.window)], 1)
        return self.outside_cost * empty.flatten(1, 3) - similarity / self.temperature

    def _windows(self, padded: Tensor) -> Tensor:
        """All shifted views (B, C, W, W, h, w) of (B, C, h + 2 reach, w + 2 reach), no copy."""
        reach = self.dilation * (self.window // 2)
        height, width = (side - 2 * reach for side in padded.shape[2:])
        return padded.unfold(2, height, self.dilation).unfold(3, width, self.dilation)
