# CDN (EoID without distillation) on the toy world, unseen combinations.
#   command    mmvl train configs/eoid/toy_uc_cdn.py       (`make quickstart` runs all of it)
#   to reach   see the toy table of configs/eoid/README.md
#   published  a toy world of this project: no published number
#   hardware   one CPU core, minutes
_base_ = ['../_base_/datasets/toy_hoi.py', '../_base_/runtime/toy_hoi.py']

# 18 of 47 interactions; every verb and object is seen in others
unseen = [10, 19, 87, 88, 131, 133, 316, 320, 453, 459, 460, 461, 506, 508, 518, 520, 523, 525]
# where training starts, as the real one starts from DETR: configs/eoid/toy_detector.py
load_from = 'data/toy_hoi/detector/epoch_20.pth'

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
        norm_eval=False,
    ),
    in_channels=64,
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    num_queries=12,
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
    dataset=dict(
        pipeline=[
            *_base_.augmentation,
            dict(type='BuildPairTargets', unseen=unseen, hide='combination', pairs='annotated'),
            dict(type='PackHOIInputs'),
        ]
    )
)
val_evaluator = dict(type='HICODetMetric', unseen=unseen)
test_evaluator = val_evaluator
