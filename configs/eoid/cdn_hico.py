# CDN-S, fully supervised: no teacher, no interactive score, every label visible.
#   command    tools/dist_train.sh configs/eoid/cdn_hico.py 4     (16 images a step)
#   to reach   31.44 full / 27.39 rare / 32.64 non-rare
#   published  CDN (NeurIPS 2021), with a further decoupled training stage
#   hardware   4 GPUs in the paper; hours are not published
_base_ = ['../_base_/datasets/hico.py', '../_base_/runtime/hoi_90e.py']

unseen = None
# mmvl convert detr detr-r50-e632da11.pth ckpt/detr_r50.safetensors
load_from = 'ckpt/detr_r50.safetensors'

model = dict(
    type='EoID',
    backbone=dict(type='FrozenResNet', depth=50),
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    detach_verbs=False,
    interactive=False,
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
