# RefCOCO, RefCOCO+, RefCOCOg and ReferItGame in refer's layout, for VG-LAW: squares of 448 pixels.
data_root = 'data/refer/'
name = 'refcoco'
split_by = 'unc'
val_split = 'val'
test_split = 'testA'
size = 448

train_pipeline = [
    dict(type='LoadReferringImage'),
    dict(type='ResizeLongSide', sizes=[size]),
    dict(type='RandomFlipReferring', prob=0.5),
    dict(type='PadToSquare', size=size, mode='random'),
    dict(type='PackReferringInputs'),
]
# centred, so that the numbers repeat; the released code pads at a random place here too
test_pipeline = [
    dict(type='LoadReferringImage'),
    dict(type='ResizeLongSide', sizes=[size]),
    dict(type='PadToSquare', size=size, mode='centre'),
    dict(type='PackReferringInputs', original_mask=True),
]
dataset = dict(type='RefCOCO', data_root=data_root, name=name, split_by=split_by)

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, split=val_split, test_mode=True, pipeline=test_pipeline),
)
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, split=test_split, test_mode=True, pipeline=test_pipeline),
)
val_evaluator = [
    dict(type='RECMetric'),
    dict(type='RESMetric', space='square', eps=1e-10, comparison='>'),
    dict(type='RESMetric', space='original'),
]
test_evaluator = val_evaluator
