# The drawn HOI world of `mmvl toy hoi data/toy_hoi`, in HICO-DET's own files: 128x128 pixels.
data_root = 'data/toy_hoi/'

augmentation = [
    dict(type='LoadHOIImage', keep_original=True),
    dict(type='ClipBoxes'),
    dict(type='RandomFlipPairs', prob=0.5),
]
test_pipeline = [dict(type='LoadHOIImage'), dict(type='PackHOIInputs')]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
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
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
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
