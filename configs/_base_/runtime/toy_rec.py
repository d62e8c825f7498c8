# A few minutes on one CPU core.
default_scope = 'mmvl'
randomness = dict(seed=0)
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=25, by_epoch=True)
visualizer = dict(type='ReferringVisualizer', vis_backends=[dict(type='LocalVisBackend')])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='ReferringVisualizationHook'),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=4, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='GroupingOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-2),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    # the backbone knows things already, everything else starts anew
    paramwise_cfg=dict(custom_keys=dict(visual_encoder=dict(lr_mult=0.2))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=True,
        begin=0,
        convert_to_iter_based=True,
    ),
]
