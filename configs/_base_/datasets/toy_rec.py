# The drawn world of `mmvl toy grounding data/toy_rec`, in RefCOCO's own files: 64x64 pixels.
data_root = 'data/toy_rec/'
size = 64

train_pipeline = [
    dict(type='LoadReferringImage'),
    dict(type='RandomFlipReferring', prob=0.5),
    dict(type='PadToSquare', size=size, mode='centre'),
    dict(type='PackReferringInputs'),
]
test_pipeline = [
    dict(type='LoadReferringImage'),
    dict(type='ResizeLongSide', sizes=[size]),  # for pictures of one's own
    dict(type='PadToSquare', size=size, mode='centre'),
    dict(type='PackReferringInputs', original_mask=True),
]
dataset = dict(
    type='RefCOCO', data_root=data_root, ann_file='refs(unc).p', data_prefix=dict(img='images')
)

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, split='train', pipeline=train_pipeline),
)
# testA: pairs of colour and shape that no training picture shows
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, split='testA', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='RECMetric'), dict(type='RESMetric')]
test_evaluator = val_evaluator
