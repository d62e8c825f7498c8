# The drawn world of `mmvl toy video data/toy_rvos`, in Ref-YouTube-VOS's own files: videos of five
# frames of 48x64 pixels.
data_root = 'data/toy_rvos/'

train_pipeline = [
    dict(type='LoadClip'),
    dict(type='RandomFlipClip', prob=0.5),
    dict(type='KeepVisible'),
    dict(type='PackClip'),
]
test_pipeline = [dict(type='LoadClip'), dict(type='PackClip', original_masks=True)]
dataset = dict(type='RefYouTubeVOS', published=False, data_root=data_root)

# what things do, with both sentences about a video in one step
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='GroupedSampler', key='video_id', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        **dataset,
        split='train',
        num_frames=5,
        # a video is a clip: nothing is to be drawn
        test_mode=True,
        ann_file='meta_expressions/train/motion.json',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        **dataset,
        split='valid',
        test_mode=True,
        ann_file='meta_expressions/valid/motion.json',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='JFMetric')
test_evaluator = val_evaluator
