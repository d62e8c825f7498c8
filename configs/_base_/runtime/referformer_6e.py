# 6 epochs of AdamW as ReferFormer is fine-tuned: learning rates / 10 after 3 and 5. Validation
# comes at the end: on Ref-YouTube-VOS it writes the submission.
default_scope = 'mmvl'
randomness = dict(seed=42)
env_cfg = dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
log_level = 'INFO'
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
visualizer = dict(type='RVOSVisualizer', vis_backends=[dict(type='LocalVisBackend')])

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='RVOSVisualizationHook'),
)

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=6, val_interval=6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=5e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    # 5e-5 and 1e-5; the released code also names the reference points and sampling offsets, whose
    # factor is 1
    paramwise_cfg=dict(
        custom_keys=dict(backbone=dict(lr_mult=0.5), text_encoder=dict(lr_mult=0.1))
    ),
)
param_scheduler = [dict(type='MultiStepLR', milestones=[3, 5], gamma=0.1, by_epoch=True)]
