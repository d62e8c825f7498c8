"""ALOcc: adaptive lifting of images to semantic occupancy and flow (Chen et al., ICCV 2025)."""

from .depth_net import ALOccDepthNet
from .flow_head import ALOccFlowHead
from .head import ALOccHead
from .history import TemporalFusion
from .hooks import ALOccScheduleHook, TemporalStateHook, WarmExpMomentumEMA
from .image_encoder import CustomFPN
from .lift import AdaptiveLift
from .model import ALOcc
from .voxel_encoder import BEVHeightFPN, BEVResNet, VoxelFPN, VoxelResNet

__all__ = [
    'ALOcc',
    'ALOccDepthNet',
    'ALOccFlowHead',
    'ALOccHead',
    'ALOccScheduleHook',
    'AdaptiveLift',
    'BEVHeightFPN',
    'BEVResNet',
    'CustomFPN',
    'TemporalFusion',
    'TemporalStateHook',
    'VoxelFPN',
    'VoxelResNet',
    'WarmExpMomentumEMA',
]
