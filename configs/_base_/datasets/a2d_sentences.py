# A2D-Sentences: clips round the one annotated frame; test frames 360 pixels high, at most about 640
# wide.
data_root = 'data/a2d_sentences/'
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
    dict(type='ResizeClip', sizes=[360], max_size=640),
    dict(type='PackClip', original_masks=True),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='A2DSentences',
        split='train',
        data_root=data_root,
        num_frames=num_frames,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='A2DSentences',
        split='test',
        data_root=data_root,
        num_frames=num_frames,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='SentenceSegMetric')
test_evaluator = val_evaluator
# of all processes
auto_scale_lr = dict(enable=False, base_batch_size=16)
