# Learn a handful of photographs by heart: does my data, read and drawn by mmvl, make sense?
#   command    mmvl train configs/eoid/hico_mini.py --cfg-options data_root=FOLDER/
#   to reach   95 mAP on the photographs that it trains on
#   published  a check of the machinery: no published number
#   hardware   two CPU cores, minutes
_base_ = ['../_base_/datasets/hico.py', '../_base_/runtime/toy_hoi.py']

# any folder in HICO-DET's layout with a few annotated images
data_root = 'data/hico_mini/'
unseen = None
view = [dict(type='LoadHOIImage'), dict(type='ResizeShortestEdge', scales=[224], max_size=384)]

model = dict(
    type='EoID',
    backbone=dict(
        type='mmdet.ResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        norm_cfg=dict(type='GN', num_groups=8),
        norm_eval=False,
    ),
    in_channels=64,
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    num_queries=24,
    embed_dims=128,
    num_heads=4,
    ffn_dims=256,
    encoder_layers=2,
    decoder_layers=2,
    dropout=0.0,
    detach_verbs=False,
    interactive=False,
    nms=dict(threshold=0.7, alpha=1.0, beta=0.5),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        pipeline=[
            *view,
            dict(type='ClipBoxes'),
            dict(type='BuildPairTargets', unseen=unseen, pairs='annotated'),
            dict(type='PackHOIInputs'),
        ],
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/trainval_hico.json',
        data_prefix=dict(img='images/train2015'),
        pipeline=[*view, dict(type='PackHOIInputs')],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='HICODetMetric', unseen=unseen)
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=250, val_interval=50)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type='MultiStepLR', milestones=[200], by_epoch=True),
]
default_hooks = dict(checkpoint=dict(interval=50))
