"""A small ALOcc with everything in it, and two cameras for it, for tests."""

from typing import Any

import torch
from mmengine.registry import DefaultScope
from torch import Tensor

from mmvl.occupancy import OccupancySample
from mmvl.occupancy.alocc import ALOcc
from mmvl.registry import MODELS

IMAGE_SIZE = (32, 64)
DEPTH = (1.0, 9.0, 1.0)
GRID = {'x': (-4.0, 4.0, 1.0), 'y': (-8.0, 8.0, 1.0), 'z': (-1.0, 3.0, 0.5)}
CAMERAS = 2


def tiny(flow: bool = False, flat: bool = False, **changes: Any) -> ALOcc:
    """A small ALOcc with everything in it; ``flat`` is the 2-D variant."""
    grid = {**GRID, 'z': (-1.0, 3.0, 4.0)} if flat else GRID
    stages = {'channels': (8, 16), 'blocks': (1, 1), 'strides': (1, 2), 'out_indices': (0, 1)}
    encoder = 'BEVResNet' if flat else 'VoxelResNet'
    once = {'channels': (8,), 'blocks': (1,), 'strides': (1,), 'out_indices': (0,)}
    neck = {'type': 'VoxelFPN', 'in_channels': 24, 'out_channels': 16}
    if flat:
        neck = {**neck, 'type': 'BEVHeightFPN', 'mid_channels': 16, 'height': 8}
    settings = {
        'img_backbone': {
            'type': 'mmdet.ResNet',
            'depth': 18,
            'base_channels': 8,
            'stem_channels': 8,
            'out_indices': (0, 2, 3),
            'norm_eval': False,
        },
        'img_neck': {'type': 'CustomFPN', 'in_channels': (32, 64), 'out_channels': 16},
        'depth_net': {
            'type': 'ALOccDepthNet',
            'in_channels': 16,
            'context_channels': 8,
            'depth': DEPTH,
            'image_size': IMAGE_SIZE,
            'channels': 16,
            'aspp_channels': 8,
            'ray_bins': 3,
        },
        'lift': {'type': 'AdaptiveLift', 'grid': grid, 'depth': DEPTH, 'image_size': IMAGE_SIZE},
        'pre_process': {'type': encoder, 'in_channels': 8, **once},
        'history': {
            'type': 'TemporalFusion',
            'channels': 8,
            'frames': 2,
            'dims': 2 if flat else 3,
            'voxel_size': [grid[axis][2] for axis in 'xyz'],
            'lower_bound': [grid[axis][0] for axis in 'xyz'],
        },
        'voxel_encoder': {'type': encoder, 'in_channels': 8, **stages},
        'voxel_neck': neck,
        'head': {
            'type': 'ALOccHead',
            'channels': 16,
            'context_channels': 8,
            'num_points': 64,
            'num_image_points': 8,
        },
        **changes,
    }
    if flow:
        settings['head']['flow_head'] = {
            'type': 'ALOccFlowHead',
            'channels': 16,
            'num_classes': 18,
            'height_range': (2, 5),
            'window': 3,
        }
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmvl'):
        model = MODELS.build({'type': 'ALOcc', **settings})
    model.init_weights()
    return model


def sample(slot: int = 0, frame: int = 0, labels: bool = False) -> OccupancySample:
    """Two cameras that look ahead and to the left from a car that drives ahead."""
    ahead = torch.tensor([[0.0, 0, 1, 0.5], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    left = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0.3], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    sensors = torch.stack([ahead, left]).double()
    now, before = (ego_pose(slot, time) for time in (frame, frame - 1))
    found = OccupancySample(
        metainfo={'starts_sequence': frame == 0, 'sample_token': f'{slot}/{frame}'},
        intrinsics=torch.tensor([[60.0, 0, 64], [0, 60, 40], [0, 0, 1]]).repeat(CAMERAS, 1, 1),
        image_rotation=torch.diag(torch.tensor([0.5, 0.5, 1])).repeat(CAMERAS, 1, 1),
        image_translation=torch.tensor([0.0, -4, 0]).repeat(CAMERAS, 1),
        sensor2ego=sensors,
        ego2global=now.repeat(CAMERAS, 1, 1),
        previous_sensor2ego=sensors,
        previous_ego2global=before.repeat(CAMERAS, 1, 1),
        key_ego2global=now,
        lidar_ego2global=now,
        bev_rotation=torch.eye(3),
    )
    if labels:
        generator = torch.Generator().manual_seed(slot)
        size = (8, 16, 8)
        found.gt_semantics = torch.randint(18, size, generator=generator)
        found.gt_flow = torch.randn(*size, 2, generator=generator)
        depth = torch.rand(CAMERAS, *IMAGE_SIZE, generator=generator) * 9 + 0.5
        found.depth_map = depth * (torch.rand(depth.shape, generator=generator) < 0.02)
        cells = (CAMERAS, IMAGE_SIZE[0] // 16, IMAGE_SIZE[1] // 16)
        found.image_semantics = torch.randint(17, cells, generator=generator)
    return found


def ego_pose(slot: int, time: float) -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:2, 3] = torch.tensor([10.0 * slot + 0.8 * time, 0.1 * time])
    return pose


def pictures(batch: int, frame: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(frame)
    shape = (batch, CAMERAS, 3, *IMAGE_SIZE)
    return {name: torch.randn(shape, generator=generator) for name in ('images', 'previous_images')}
