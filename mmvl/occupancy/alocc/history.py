"""Features of earlier frames: kept for each place in the batch, moved with the car, fused.

Letters in shapes: B samples (places in the batch), C channels, T earlier frames, X Y Z voxels. A
volume is (B, C, Y, X, Z), a bird's-eye view (B, C, Y, X). Poses bring the ego frame to the global
one; frames are x forward, y left, z up, metres.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmvl.registry import MODELS

KEYS: Final = [
    (r'^history_keyframe_time_conv\.', 'history.time_conv.'),
    (r'^history_keyframe_cat_conv\.', 'history.fuse_conv.'),
]
"""Names of released weights, and where they stand in the model."""

SYNCHRONISED: Final = {'type': 'SyncBN'}


class TemporalModule(BaseModule):
    """Keeps tensors of each place in the batch from one call to the next.

    Training and evaluation have states of their own, so a validation between two iterations does
    not disturb the training. The state is no part of the weights, and no buffer, which distributed
    training would copy from the first process to the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[bool, dict[str, Tensor]] = {True: {}, False: {}}

    def reset_state(self, slots: Sequence[int] | None = None) -> None:
        """Forget the past, of the mode (training or evaluation) that the module is in.

        Args:
            slots: places in the batch that begin a new sequence with the next call; all if None.
        """
        state = self._states[self.training]
        if slots is None:
            state.clear()
        elif state:
            running = state['running'].clone()
            running[list(slots)] = False
            state['running'] = running

    def temporal_state(self) -> dict[str, Tensor]:
        """Copy what the next call depends on, of the mode that the module is in.

        Returns:
            Tensors with B first, on the device of the features; empty before the first call.
        """
        return {name: value.clone() for name, value in self._states[self.training].items()}

    def load_temporal_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where :meth:`temporal_state` was taken, in the mode that the module is in."""
        self._states[self.training] = {name: value.clone() for name, value in state.items()}

    def _begin(self, poses: Tensor, starts: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Look up the past.

        Args:
            poses: (B, 4, 4).
            starts: (B,) bool, whether a sequence begins.

        Returns:
            The state, on the device of the poses, and (B,) bool, which places have none.

        Raises:
            ValueError: another number of samples than before, though not all of them begin.
        """
        state = self._states[self.training]
        if state and len(state['running']) != len(starts):
            if not bool(starts.all()):
                raise ValueError(
                    f'a batch of {len(starts)} samples follows one of {len(state["running"])}.\n'
                    f'Where: {type(self).__name__}, which keeps the past of each place in the '
                    'batch.\n'
                    'What to do: keep the batch size within sequences (drop_last), or mark all '
                    'samples with starts_sequence.'
                )
            state = {}
        if not state:
            return {}, torch.ones_like(starts)
        state = {name: value.to(poses.device) for name, value in state.items()}
        return state, starts | ~state['running']

    def _remember(self, **state: Tensor) -> None:
        """Replace the state; no tensor of it is ever changed in place."""
        running = torch.ones(len(state['poses']), dtype=torch.bool, device=state['poses'].device)
        self._states[self.training] = {'running': running, **state}


@MODELS.register_module()
class TemporalFusion(TemporalModule):
    """Recurrent fusion with the features of T earlier frames.

    The features of the past are one tensor of T C channels. With each frame all of it is moved by
    the motion of the car; the frame itself is put in front and the oldest is dropped. Where a
    sequence begins, the frame stands for its own past.

    Args:
        channels: C.
        frames: T.
        voxel_size: metres, x y z.
        lower_bound: metres, x y z; the first voxel of an axis is looked up there.
        dims: 3 for volumes, 2 for bird's-eye views.
        frame_time: seconds between two frames.
        plane_height: metres; a bird's-eye view is moved as if all of it were at this height.
        norm_cfg: norm behind each of the two convolutions.
        with_cp: compute the convolutions again for their gradient.

    Attributes:
        enabled: False drops the features of the past after each frame of a training, as the
            first two epochs of the released one do. The frame then stands for its own past, moved
            by the motion. Evaluation always keeps the past.

    Source: SOLOFusion (Park et al. 2023), section 4; official code of ALOcc for the motion.
    """

    def __init__(
        self,
        channels: int,
        frames: int = 16,
        voxel_size: Sequence[float] = (0.4, 0.4, 0.4),
        lower_bound: Sequence[float] = (-40.0, -40.0, -1.0),
        dims: int = 3,
        frame_time: float = 0.5,
        plane_height: float = 1.0,
        norm_cfg: Mapping[str, Any] = SYNCHRONISED,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.frames, self.frame_time, self.with_cp = frames, frame_time, with_cp
        self.geometry = voxel_size[:dims], lower_bound[:dims], plane_height
        self.enabled = True
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        self.time_conv = nn.Sequential(
            conv(channels + 1, channels, 1),
            build_norm_layer(dict(norm_cfg), channels)[1],
            nn.ReLU(inplace=True),
        )
        self.fuse_conv = nn.Sequential(
            conv((frames + 1) * channels, channels, 1),
            build_norm_layer(dict(norm_cfg), channels)[1],
            nn.ReLU(inplace=True),
        )

    def forward(self, volume: Tensor, poses: Tensor, bda: Tensor, starts: Tensor) -> Tensor:
        """Fuse a frame with its past, and keep it for the next one.

        Args:
            volume: (B, C, Y, X, Z) or (B, C, Y, X) float.
            poses: (B, 4, 4) float64, ego to global.
            bda: (B, 3, 3) float, augmentation of the ego frame.
            starts: (B,) bool, whether a sequence begins.

        Returns:
            Of the shape of ``volume``.

        Raises:
            ValueError: another number of samples than before, though not all of them begin.
        """
        past, ages = self._past(volume.detach().float(), poses, bda, starts)
        frames = torch.cat([volume, past.to(volume.dtype)], 1)
        # more than a gigabyte at full size
        del past
        ages = F.pad(ages, (1, 0))
        kept = {'poses': poses, 'bda': bda}
        if self.enabled or not self.training:
            features = frames[:, : -volume.shape[1]].detach().float()
            kept.update(features=features, ages=ages[:, :-1])
        self._remember(**kept)
        if self.with_cp and volume.requires_grad:
            return checkpoint(self._fuse, frames, ages, use_reentrant=False)
        return self._fuse(frames, ages)

    @torch.no_grad()
    def _past(
        self, current: Tensor, poses: Tensor, bda: Tensor, starts: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Bring the past into the frame of the present.

        Returns:
            Features (B, T C, Y, X[, Z]), and (B, T), how many frames ago each was current.
        """
        state, starts = self._begin(poses, starts)
        repeats = [1, self.frames, *[1] * (current.ndim - 2)]
        ages = poses.new_zeros(len(current), self.frames, dtype=current.dtype)
        if bool(starts.all()):
            return current.repeat(repeats), ages
        known = 'features' in state
        matrix = index_motion(
            state['poses'], poses, state['bda'] if known else bda, bda, *self.geometry[:2]
        )
        past = warp(state['features'] if known else current, matrix, self.geometry[2])
        past[starts] = current[starts].repeat(repeats) if known else current[starts]
        ages = (state['ages'] if known else ages) + 1
        ages[starts] = 0
        return (past if known else past.repeat(repeats)), ages

    def _fuse(self, frames: Tensor, ages: Tensor) -> Tensor:
        """Fuse (B, (T + 1) C, Y, X[, Z]) of (B, T + 1) frames ago."""
        convolve = F.conv3d if frames.ndim == 5 else F.conv2d
        conv: Any = self.time_conv[0]
        x = frames.unflatten(1, (self.frames + 1, -1)).flatten(0, 1)
        # The age of a frame is a channel of its own in the released layout. It is constant over
        # the volume, so its part is a bias of each frame, and no larger copy is made.
        x = convolve(x, conv.weight[:, :-1])
        bias = conv.bias + ages.view(-1, 1) * self.frame_time * conv.weight[:, -1].view(-1)
        x += bias.view(*bias.shape, *[1] * (x.ndim - 2))
        for layer in list(self.time_conv)[1:]:
            x = layer(x)
        return self.fuse_conv(x.unflatten(0, (len(frames), -1)).flatten(1, 2))


def index_motion(
    previous_poses: Tensor,
    poses: Tensor,
    previous_bda: Tensor,
    bda: Tensor,
    voxel_size: Sequence[float],
    lower_bound: Sequence[float],
) -> Tensor:
    """Find where a voxel of now was, in voxels of the previous frame.

    An index i lies at voxel_size * i + lower_bound, without half a voxel, as in the lift.

    Args:
        previous_poses: (B, 4, 4) float64, ego to global.
        poses: likewise, of now.
        previous_bda: (B, 3, 3), augmentation of the previous frame.
        bda: likewise, of now.
        voxel_size: metres, x y z; two for bird's-eye views, whose z stays in metres.
        lower_bound: metres, likewise.

    Returns:
        (B, 4, 4) float64, xyz1 to xyz1.
    """
    metres = torch.eye(4, dtype=poses.dtype, device=poses.device)
    for axis, (size, low) in enumerate(zip(voxel_size, lower_bound, strict=True)):
        metres[axis, axis], metres[axis, 3] = size, low
    motion = torch.linalg.inv(previous_poses) @ poses
    before, now = _homogeneous(previous_bda, poses), _homogeneous(bda, poses)
    inverse = torch.linalg.inv
    return inverse(metres) @ before @ motion @ inverse(now) @ metres


def _homogeneous(rotation: Tensor, like: Tensor) -> Tensor:
    """(B, 4, 4) of (B, 3, 3)."""
    return F.pad(rotation.to(like), (0, 1, 0, 1)) + torch.diag(like.new_tensor([0, 0, 0, 1]))


def warp(features: Tensor, matrix: Tensor, plane_height: float = 1.0) -> Tensor:
    """Look features up elsewhere, linearly; zero outside.

    Args:
        features: (B, C, Y, X, Z) or (B, C, Y, X) float32.
        matrix: (B, 4, 4), index xyz1 of the result to index xyz1 of ``features``.
        plane_height: z that a bird's-eye view is looked up at.

    Returns:
        Of the shape of ``features``.
    """
    if features.ndim == 4:
        linear, offset = matrix[:, :2, :2], matrix[:, :2, 3] + plane_height * matrix[:, :2, 2]
        sizes = [features.shape[3], features.shape[2]]
    else:
        # grid_sample names the axes of a tensor from the last one on
        order = [2, 0, 1]
        linear, offset = matrix[:, order][:, :, order], matrix[:, order, 3]
        sizes = [features.shape[4], features.shape[3], features.shape[2]]
    # indices 0 ... n - 1 become -1 ... 1
    half = (torch.tensor(sizes, dtype=matrix.dtype, device=matrix.device) - 1) / 2
    scale = half.clamp(min=0.5)
    offset = (offset + (linear @ half) - half) / scale
    theta = torch.cat([linear * scale / scale[:, None], offset[..., None]], -1)
    with torch.autocast(features.device.type, enabled=False):
        shape = list(features.shape)
        grid = F.affine_grid(theta.to(features.dtype), shape, align_corners=True)
        return F.grid_sample(features, grid, align_corners=True)
