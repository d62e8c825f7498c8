"""The case on which ALOcc is compared with its released code (``make_alocc.py``).

Two sequences side by side, three frames long; the second one begins anew at the last frame. Small
images and a small grid, channels as published. Letters in shapes: N cameras.
"""

import zlib
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import torch
from common import seeded
from torch import Tensor

IMAGE_SIZE = (64, 128)
CAMERAS, SLOTS, FRAMES = 3, 2, 3
GRID = {'x': [-8, 8, 1.0], 'y': [-4, 4, 1.0], 'z': [-1, 5.4, 0.4]}
FLAT = {'z': [-1, 5.4, 6.4]}
DEPTH = [1.0, 13.0, 0.5]
DENOISE_RATE = 0.3
COUNT = 300
"""Numbers that are kept of a tensor."""
# focal length, centre: pixels before augmentation
CAMERA = (250.0, 145.0, 112.0)
# first axis of the camera numbers: what the norm before the camera branches has seen
CAMERA_MEAN = [250, 250, 145, 112, 0.3, 0, 40, 0, 0.44, -35, 1, 0, 0, 1, 1, *[0] * 11, 1.5]
CAMERA_VARIANCE = [9, 9, 9, 9, 0.2, 0.1, 5e3, 0.1, 0.1, 50, 1, 1, 1, 1, 1, *[0.5] * 11, 0.1]
# keeps offsets near the neighbours, and logits in the range of trained ones
GAINS = {'bias_net': 0.3, 'context_conv': 0.2, 'final_conv': 0.4, 'mask_embed.4': 0.3}


@dataclass(frozen=True)
class Variant:
    """A released config and what is made smaller in it.

    Attributes:
        config: its name.
        grid: its ``grid_config`` in small.
        stereo: whether it reads the previous images.
    """

    config: str
    grid: dict[str, list[float]]
    stereo: bool = True


VARIANTS = {
    '3d': Variant('alocc_3d_r50_256x704_bevdet_preatrain_16f', {**GRID, 'depth': DEPTH}),
    '2d': Variant('alocc_2d_r50_256x704_bevdet_preatrain_16f', {**GRID, **FLAT, 'depth': DEPTH}),
    # its history is right on square grids only
    '2d_mini': Variant(
        'alocc_2d_mini_r50_256x704_bevdet_preatrain_16f',
        {**GRID, **FLAT, 'y': [-8, 8, 1.0], 'depth': [1.0, 25.0, 1.0]},
        stereo=False,
    ),
    'flow_2d': Variant(
        'aloccflow_2d_r50_256x704_bevdet_preatrain_16f', {**GRID, **FLAT, 'depth': DEPTH}
    ),
    'flow_3d': Variant('aloccflow_3d_r50_256x704_bevdet_preatrain_16f', {**GRID, 'depth': DEPTH}),
}
STAGES = ('context', 'depth', 'occupancy', 'lift', 'history', 'volume', 'mask_logits', 'flow')


def starts(frame: int) -> list[bool]:
    """Which sequences begin with a frame."""
    return [frame == 0, frame in (0, 2)]


def images(slot: int, frame: int) -> Tensor:
    """Normalised images (N, 3, H, W) of one moment; frame -1 is before the first."""
    height, width = IMAGE_SIZE
    size = (CAMERAS, 3, height // 8, width // 8)
    # what moves slowly, and what each frame has for itself
    blocks = seeded(f'{slot}/scene', size) + seeded(f'{slot}/{frame}', size, scale=0.7)
    blocks = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    return blocks + seeded(f'{slot}/{frame}/noise', (CAMERAS, 3, height, width), scale=0.3)


def depth_map(slot: int) -> Tensor:
    """LiDAR depth (N, H, W), metres: few pixels have one, some lie out of range."""
    generator = torch.Generator().manual_seed(slot)
    size = (CAMERAS, *IMAGE_SIZE)
    depth = torch.rand(size, generator=generator) * 15 + 0.2
    return depth * (torch.rand(size, generator=generator) < 0.004)


def calibration(slot: int, frame: int) -> dict[str, Tensor]:
    """The calibration of one moment under the names of an ``OccupancySample``."""
    mounting = [
        _pose(2 * pi * i / CAMERAS + 0.1 * slot, (0.8, 0.3 * i, 1.5 + 0.05 * i), camera=True)
        for i in range(CAMERAS)
    ]
    # each camera has a time of its own
    egos = [_ego(slot, frame + 0.03 * i) for i in range(CAMERAS)]
    before = [_ego(slot, frame - 1 + 0.03 * i) for i in range(CAMERAS)]
    turns, shifts = zip(*[_augmentation(i + slot) for i in range(CAMERAS)], strict=True)
    focal, column, row = CAMERA
    inner = torch.tensor([[focal, 0, column], [0, focal + 2, row], [0, 0, 1]])
    flips = torch.tensor([[1.0, 1, 1], [-1, 1, 1], [1, -1, 1]])
    return {
        'intrinsics': inner.repeat(CAMERAS, 1, 1) + torch.arange(CAMERAS)[:, None, None] * inner[2],
        'image_rotation': torch.stack(turns),
        'image_translation': torch.stack(shifts),
        'sensor2ego': torch.stack(mounting),
        'ego2global': torch.stack(egos),
        'previous_sensor2ego': torch.stack(mounting),
        'previous_ego2global': torch.stack(before),
        'key_ego2global': egos[1],
        'lidar_ego2global': _ego(slot, frame + 0.02),
        'bev_rotation': torch.diag(flips[(slot + frame) % 3]),
    }


def _pose(yaw: float, place: tuple[float, ...], pitch: float = 0.0, camera: bool = False) -> Tensor:
    """(4, 4) float64; a camera's axes are right, down, forward."""
    turn = torch.tensor(
        [[cos(yaw), -sin(yaw), 0], [sin(yaw), cos(yaw), 0], [0, 0, 1]], dtype=torch.float64
    )
    nod = torch.tensor(
        [[cos(pitch), 0, sin(pitch)], [0, 1, 0], [-sin(pitch), 0, cos(pitch)]], dtype=torch.float64
    )
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = turn @ nod
    if camera:
        pose[:3, :3] @= torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    pose[:3, 3] = torch.tensor(place)
    return pose


def _ego(slot: int, time: float) -> Tensor:
    place = (5.0 * slot + 0.9 * time, 3.0 - 0.3 * time, 0.02 * time)
    return _pose(0.4 * slot + 0.06 * time, place, pitch=0.01 * time)


def _augmentation(number: int) -> tuple[Tensor, Tensor]:
    """Resize and crop; every third camera is flipped, every third one turned."""
    turn, shift = torch.diag(torch.tensor([0.44, 0.44, 1.0])), torch.tensor([0.0, -35.0, 0.0])
    if number % 3 == 1:
        turn[0, 0], shift[0] = -0.44, IMAGE_SIZE[1]
    if number % 3 == 2:
        angle = torch.tensor(0.07)
        small = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).view(2, 2)
        turn[:2, :2] = small @ turn[:2, :2]
        shift[:2] = torch.tensor([-3.0, -29.0])
    return turn, shift


def alocc_weights(shapes: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Weights under the released names, on which every stage depends on the images.

    The camera branches saturate unless the norm before them has seen such cameras, and offsets
    stay near the neighbours.
    """
    norms = {name.removesuffix('running_mean') for name in shapes if name.endswith('running_mean')}
    state = {}
    for name, shape in shapes.items():
        owner, _, kind = name.rpartition('.')
        if kind == 'num_batches_tracked':
            state[name] = torch.tensor(0)
        elif f'{owner}.' in norms or 'post_norm' in name:
            state[name] = _norm(owner, kind, tuple(shape), seed)
        elif len(shape) == 1:
            state[name] = seeded(name, tuple(shape), seed, 0.1)
        else:
            fan_in = int(torch.tensor(shape[1:]).prod())
            gain = next((gain for part, gain in GAINS.items() if part in name), 1.4)
            state[name] = seeded(name, tuple(shape), seed, gain * fan_in**-0.5)
    for kind, values in (('running_mean', CAMERA_MEAN), ('running_var', CAMERA_VARIANCE)):
        state[f'depth_net.bn.{kind}'] = torch.tensor(values, dtype=torch.float32)
    for kind in ('weight', 'bias'):
        same = 'depth_net.{}.0.downsample.' + kind
        if same.format('occ_conv') in state:
            state[same.format('occ_conv')] = state[same.format('depth_conv')]
    offsets = 'depth_net.depth2occ_inter_bias_net.bias'
    if offsets in state:
        steps = torch.tensor([-1.0, 0, 1])
        state[offsets] = torch.cartesian_prod(steps, steps).flatten()
    return state


def _norm(owner: str, kind: str, shape: tuple[int, ...], seed: int) -> Tensor:
    noise = seeded(f'{owner}.{kind}', shape, seed, 0.1)
    if kind == 'running_var':
        return noise.abs() * 2 + 0.8
    if kind != 'weight':
        return noise
    # the end of a residual branch: blocks upon blocks do not grow
    last = owner.endswith(('bn3', 'layers.bn2', 'conv2.bn')) or owner.endswith('bn2')
    return (1 + noise) * (0.4 if last else 1.0)


def thinned(name: str, values: Tensor) -> Tensor:
    """The part of a tensor that the golden file keeps: ``COUNT`` numbers at seeded places."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    places = torch.randint(values.numel(), (COUNT,), generator=generator)
    return values.flatten()[places]
