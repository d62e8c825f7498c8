# JHMDB-Sentences: evaluation only, of the three frames of each video in the released list, 360
# pixels high, at most about 640 wide.
data_root = 'data/jhmdb_sentences/'
num_frames = 5

test_pipeline = [
    dict(type='LoadClip'),
    dict(type='ResizeClip', sizes=[360], max_size=640),
    dict(type='PackClip', original_masks=True),
]

test_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='JHMDBSentences',
        data_root=data_root,
        num_frames=num_frames,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='SentenceSegMetric')
