# ALOcc-2D-mini, without stereo, and its recipe: 12 times 8,005 iterations of 16 samples.
image_size = (256, 704)
depth = (1.0, 45.0, 1.0)
# one cell in z: heights come back in the neck
bounds = dict(x=(-40.0, 40.0, 0.4), y=(-40.0, 40.0, 0.4), z=(-1.0, 5.4, 6.4))

model = dict(
    type='ALOcc',
    img_backbone=dict(
        type='mmdet.ResNet', depth=50, out_indices=(2, 3), norm_eval=False, with_cp=True
    ),
    img_neck=dict(type='CustomFPN', in_channels=(1024, 2048), out_channels=256),
    depth_net=dict(
        type='ALOccDepthNet',
        in_channels=256,
        context_channels=40,
        depth=depth,
        image_size=image_size,
        stereo=False,
        ray_bins=22,
        inter_pixel=False,
    ),
    lift=dict(type='AdaptiveLift', grid=bounds, depth=depth, image_size=image_size),
    history=dict(type='TemporalFusion', channels=40, frames=16, dims=2),
    voxel_encoder=dict(
        type='BEVResNet',
        in_channels=40,
        channels=(32, 64, 128),
        blocks=(1, 2, 4),
        strides=(1, 2, 2),
        out_indices=(0, 1, 2),
    ),
    voxel_neck=dict(
        type='BEVHeightFPN',
        in_channels=224,
        mid_channels=128,
        out_channels=32,
        height=16,
        with_cp=True,
    ),
    head=dict(type='ALOccHead', channels=32, context_channels=40),
)

default_scope = 'mmvl'
randomness = dict(seed=0)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
visualizer = dict(type='OccupancyVisualizer', vis_backends=[dict(type='LocalVisBackend')])

# what the released configs call an epoch: iterations of 16 samples
epoch = 8005
train_cfg = dict(type='IterBasedTrainLoop', max_iters=12 * epoch, val_interval=12 * epoch)
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
    ),
    dict(type='TemporalStateHook'),
]
# weights to start from: `mmvl convert bevdet` of the released BEVDet with stereo
load_from = 'ckpt/bevdet_r50_4d_stereo_cbgs.safetensors'
