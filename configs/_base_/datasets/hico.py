# HICO-DET in the layout that everybody has on disk (see docs). Pairs are built by the leaf config,
# which adds BuildPairTargets and PackHOIInputs behind `augmentation`.
data_root = 'data/hico_20160224_det/'
scales = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]

augmentation = [
    dict(type='LoadHOIImage', keep_original=True),
    dict(type='ClipBoxes'),
    dict(type='RandomFlipPairs', prob=0.5),
    dict(type='ColorJitterRGB', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(
        type='RandomBranch',
        prob=0.5,
        transforms=[
            [dict(type='ResizeShortestEdge', scales=scales, max_size=1333)],
            [
                dict(type='ResizeShortestEdge', scales=[400, 500, 600], max_size=None),
                dict(type='RandomSizeCrop', min_size=384, max_size=600),
                dict(type='ResizeShortestEdge', scales=scales, max_size=1333),
            ],
        ],
    ),
]
test_pipeline = [
    dict(type='LoadHOIImage'),
    dict(type='ResizeShortestEdge', scales=[800], max_size=1333),
    dict(type='PackHOIInputs'),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='HICODet',
        data_root=data_root,
        ann_file='annotations/trainval_hico.json',
        data_prefix=dict(img='images/train2015'),
    ),
)
# the published numbers depend a little on the padding: batches of 4 an image side by side
val_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='HICODet',
        data_root=data_root,
        ann_file='annotations/test_hico.json',
        data_prefix=dict(img='images/test2015'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
