# ALOcc-3D on the drawn street: adaptive lifting and three earlier frames.
#   command    mmvl train configs/alocc/toy.py    (`make occupancy` runs all of it)
#   to reach   see configs/alocc/README.md
#   published  a toy world of this project: no published number
#   hardware   one CPU core, minutes
_base_ = ['../_base_/datasets/toy_occ.py', '../_base_/runtime/toy_occ.py']

image_size = _base_.size
depth = (_base_.near, _base_.far, 0.5)
bounds = dict(x=(-12.8, 12.8, 0.8), y=(-12.8, 12.8, 0.8), z=(-0.8, 5.6, 0.8))

# plain lift-splat is the same with `--cfg-options model.lift.soft_filling=False
# model.depth_net.ray_bins=0 model.depth_net.inter_pixel=False`, single frames `model.history=None`
model = dict(
    type='ALOcc',
    img_backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        out_indices=(2, 3),
        # as it starts
        frozen_stages=4,
        norm_eval=True,
    ),
    img_neck=dict(type='CustomFPN', in_channels=(64, 128), out_channels=64),
    depth_net=dict(
        type='ALOccDepthNet',
        in_channels=64,
        context_channels=16,
        depth=depth,
        image_size=image_size,
        channels=64,
        aspp_channels=16,
        stereo=False,
        ray_bins=10,
        inter_pixel=True,
    ),
    lift=dict(
        type='AdaptiveLift',
        grid=bounds,
        depth=depth,
        image_size=image_size,
        clamp_bins_to_cameras=False,
    ),
    history=dict(
        type='TemporalFusion',
        channels=16,
        frames=3,
        dims=3,
        norm_cfg=dict(type='BN3d'),  # SyncBN needs GPUs
        voxel_size=(0.8, 0.8, 0.8),
        lower_bound=(-12.8, -12.8, -0.8),
    ),
    voxel_encoder=dict(
        type='VoxelResNet',
        in_channels=16,
        channels=(16, 32, 64),
        blocks=(1, 1, 1),
        strides=(1, 2, 2),
        out_indices=(0, 1, 2),
    ),
    voxel_neck=dict(type='VoxelFPN', in_channels=112, out_channels=24),
    head=dict(
        type='ALOccHead',
        channels=24,
        context_channels=16,
        # of the training labels, about; the street has no other kinds
        class_counts=dict(
            others=0,
            barrier=29_000,
            bicycle=0,
            bus=56_000,
            car=13_000,
            construction_vehicle=0,
            motorcycle=0,
            pedestrian=0,
            traffic_cone=0,
            trailer=0,
            truck=38_000,
            driveable_surface=178_000,
            other_flat=0,
            sidewalk=37_000,
            terrain=80_000,
            manmade=161_000,
            vegetation=0,
            free=1_768_000,
        ),
        num_points=1024,
        num_image_points=64,
    ),
)
load_from = _base_.data_root + 'start.safetensors'
visualizer = dict(lower=_base_.lower, voxel_size=_base_.voxel_size)
