# RefCOCO, RefCOCO+ and RefCOCOg as clips of one frame, on which ReferFormer is pre-trained.
# Validation reads RefCOCO's val; val_dataloader.dataset.dataset.name chooses another.
data_root = 'data/coco/'

train_pipeline = [
    dict(type='LoadClip'),
    dict(type='RandomFlipClip', prob=0.5),
    dict(
        type='RandomBranch',
        prob=0.5,
        transforms=[
            [
                dict(
                    type='ResizeClip',
                    sizes=[480, 512, 544, 576, 608, 640, 672, 704, 736, 768],
                    max_size=800,
                )
            ],
            [
                dict(type='ResizeClip', sizes=[400, 500, 600]),
                dict(type='RandomCropClip', min_size=384, max_size=600),
                dict(
                    type='ResizeClip',
                    sizes=[296, 328, 360, 392, 416, 448, 480, 512],
                    max_size=640,
                ),
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
images = dict(type='RefCOCO', data_root=data_root, data_prefix=dict(img='train2014'))

train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='PseudoClip',
                dataset=dict(**images, name='refcoco', split_by='unc', split='train'),
                pipeline=train_pipeline,
            ),
            dict(
                type='PseudoClip',
                dataset=dict(**images, name='refcoco+', split_by='unc', split='train'),
                pipeline=train_pipeline,
            ),
            dict(
                type='PseudoClip',
                dataset=dict(**images, name='refcocog', split_by='umd', split='train'),
                pipeline=train_pipeline,
            ),
        ],
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='PseudoClip',
        dataset=dict(**images, name='refcoco', split='val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='SentenceSegMetric')
test_evaluator = val_evaluator
# of all processes
auto_scale_lr = dict(enable=False, base_batch_size=64)
