# ALOccFlow-3D on volumes, and its recipe: 18 times 8,005 iterations of 16 samples.
image_size = (256, 704)
depth = (1.0, 45.0, 0.5)
bounds = dict(x=(-40.0, 40.0, 0.4), y=(-40.0, 40.0, 0.4), z=(-1.0, 5.4, 0.4))
classes = (
    *('car', 'truck', 'trailer', 'bus', 'construction_vehicle', 'bicycle', 'motorcycle'),
    *('pedestrian', 'traffic_cone', 'barrier', 'driveable_surface', 'other_flat', 'sidewalk'),
    *('terrain', 'manmade', 'vegetation', 'free'),
)

model = dict(
    type='ALOcc',
    img_backbone=dict(
        type='mmdet.ResNet', depth=50, out_indices=(0, 2, 3), norm_eval=False, with_cp=True
    ),
    img_neck=dict(type='CustomFPN', in_channels=(1024, 2048), out_channels=256),
    depth_net=dict(
        type='ALOccDepthNet',
        in_channels=256,
        context_channels=32,
        depth=depth,
        image_size=image_size,
        stereo=True,
        ray_bins=22,
        inter_pixel=True,
    ),
    lift=dict(type='AdaptiveLift', grid=bounds, depth=depth, image_size=image_size),
    pre_process=dict(
        type='VoxelResNet',
        in_channels=32,
        channels=(32,),
        blocks=(1,),
        strides=(1,),
        out_indices=(0,),
        with_cp=True,
    ),
    history=dict(type='TemporalFusion', channels=32, frames=16, dims=3),
    voxel_encoder=dict(
        type='VoxelResNet',
        in_channels=32,
        channels=(32, 64, 128, 256),
        blocks=(1, 2, 4, 4),
        strides=(1, 2, 2, 2),
        with_cp=True,
    ),
    voxel_neck=dict(type='VoxelFPN', in_channels=480, out_channels=48),
    head=dict(
        type='ALOccHead',
        channels=48,
        classes=classes,
        context_channels=32,
        flow_head=dict(type='ALOccFlowHead', channels=48, num_classes=17),
    ),
)

default_scope = 'mmvl'
randomness = dict(seed=0)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
visualizer = dict(type='OccupancyVisualizer', vis_backends=[dict(type='LocalVisBackend')])

# what the released configs call an epoch: iterations of 16 samples
epoch = 8005
train_cfg = dict(type='IterBasedTrainLoop', max_iters=18 * epoch, val_interval=18 * epoch)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-2),
    clip_grad=dict(max_norm=5, norm_type=2),
)
param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=200)]
auto_scale_lr = dict(enable=False, base_batch_size=16)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=epoch, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='OccupancyVisualizationHook'),
)
custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='WarmExpMomentumEMA',
        momentum=0.001,
        gamma=2000,
        start=10560,
        update_buffers=True,
    ),
    dict(
        type='ALOccScheduleHook',
        denoise=(0, 6 * epoch),
        history_from=2 * epoch,
        flow_truth=(2 * epoch, 4 * epoch),
    ),
    dict(type='TemporalStateHook'),
]
# weights to start from: `mmvl convert bevdet` of the released BEVDet with stereo
load_from = 'ckpt/bevdet_r50_4d_stereo_cbgs.safetensors'
