# The start of all toy trainings: pairs of boxes without any verb, in the place of DETR.
#   command    mmvl train configs/eoid/toy_detector.py       (`make quickstart` runs all of it)
#   to reach   recall, not mAP: no verb is learnt here
#   published  a toy world of this project: no published number
#   hardware   one CPU core, minutes
_base_ = ['../_base_/datasets/toy_hoi.py', '../_base_/runtime/toy_hoi.py']

# nothing is held out: boxes and object classes are known for every picture
unseen = None

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
    matcher=dict(verb_cost=0.0),
    criterion=dict(verb_weight=0.0, distill_weight=0.0),
    nms=dict(threshold=0.7, alpha=1.0, beta=0.5),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.augmentation,
            dict(type='BuildPairTargets', unseen=unseen, hide='verb', pairs='annotated'),
            dict(type='PackHOIInputs'),
        ]
    )
)
val_evaluator = dict(type='HICODetMetric', unseen=unseen)
test_evaluator = val_evaluator

# boxes take longer to learn than what comes after them
train_cfg = dict(max_epochs=20, val_interval=5)
