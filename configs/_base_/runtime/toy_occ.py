# Some minutes on one CPU core.
default_scope = 'mmvl'
randomness = dict(seed=0)
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=25, by_epoch=False)
visualizer = dict(type='OccupancyVisualizer', vis_backends=[dict(type='LocalVisBackend')])

train_cfg = dict(type='IterBasedTrainLoop', max_iters=520, val_interval=520)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='GroupingOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=5, norm_type=2),
    # images are understood already, everything else starts anew
    paramwise_cfg=dict(
        custom_keys={
            'img_neck': dict(lr_mult=0.1),
            'depth_net': dict(lr_mult=0.1),
            'depth_net.occupancy_conv': dict(lr_mult=1.0),
            'depth_net.neighbour': dict(lr_mult=1.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.02, by_epoch=False, begin=40, end=520),
]

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=25),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=520, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='OccupancyVisualizationHook'),
)
custom_hooks = [
    dict(type='ALOccScheduleHook', denoise=(0, 100)),
    dict(type='TemporalStateHook'),
]
