# 90 epochs of AdamW as VG-LAW's paper trains: 256 sentences a step, learning rates / 10 after 60.
# The released code's recipe differs; configs/vg_law/refcoco_20e.py has it.
default_scope = 'mmvl'
randomness = dict(seed=42)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
visualizer = dict(type='ReferringVisualizer', vis_backends=[dict(type='LocalVisBackend')])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='rec/acc', rule='greater'
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='ReferringVisualizationHook'),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.15, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(text_encoder=dict(lr_mult=0.1), visual_encoder=dict(lr_mult=0.1))
    ),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[60], gamma=0.1, by_epoch=True)]
auto_scale_lr = dict(enable=False, base_batch_size=256)
