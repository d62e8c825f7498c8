# Ref-DAVIS17, valid, made by `mmvl data ref-davis`: evaluation only, in clips of 36 frames (which
# the model cuts), 360 pixels high.
data_root = 'data/ref-davis/'

test_pipeline = [
    dict(type='LoadClip'),
    dict(type='ResizeClip', sizes=[360]),
    dict(type='PackClip'),
]

test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='RefDAVIS17',
        split='valid',
        data_root=data_root,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(
    type='RefDAVIS17Submission',
    out_dir='work_dirs/refdavis17',
    truth=data_root + 'DAVIS/Annotations_unsupervised/480p',
)
