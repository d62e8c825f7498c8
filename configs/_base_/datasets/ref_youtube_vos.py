# Ref-YouTube-VOS: training as released; each valid video whole, 360 pixels high. The server has the
# truth, so validation and test write its submission and measure nothing.
data_root = 'data/ref-youtube-vos/'
num_frames = 5
scales = [288, 320, 352, 392, 416, 448, 480, 512]

train_pipeline = [
    dict(type='LoadClip'),
    dict(type='RandomFlipClip', prob=0.5),
    dict(type='PhotometricDistortClip'),
    dict(
        type='RandomBranch',
        prob=0.5,
        transforms=[
            [dict(type='ResizeClip', sizes=scales, max_size=640)],
            [
                dict(type='ResizeClip', sizes=[400, 500, 600]),
                dict(type='RandomCropClip', min_size=384, max_size=600),
                dict(type='ResizeClip', sizes=scales, max_size=640),
            ],
        ],
    ),
    dict(type='KeepVisible'),
    dict(type='PackClip'),
]
test_pipeline = [
    dict(type='LoadClip'),
    dict(type='ResizeClip', sizes=[360]),
    dict(type='PackClip'),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='RefYouTubeVOS',
        split='train',
        data_root=data_root,
        num_frames=num_frames,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='RefYouTubeVOS',
        split='valid',
        data_root=data_root,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='RefYouTubeVOSSubmission', out_dir='work_dirs/refytvos')
test_evaluator = val_evaluator
# of all processes
auto_scale_lr = dict(enable=False, base_batch_size=8)
