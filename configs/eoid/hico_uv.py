# EoID on HICO-DET, unseen verbs: the 20 verbs, 84 interactions of GEN-VLKT.
#   command    tools/dist_train.sh configs/eoid/hico_uv.py 4     (16 images a step)
#   to reach   29.61 full / 30.73 seen / 22.71 unseen
#   published  lists of later papers
#   hardware   4 GPUs in the paper; hours are not published
_base_ = ['../_base_/datasets/hico.py', '../_base_/runtime/hoi_90e.py']

unseen = 'uv'
# mmvl convert detr detr-r50-e632da11.pth ckpt/detr_r50.safetensors
load_from = 'ckpt/detr_r50.safetensors'

model = dict(
    type='EoID',
    backbone=dict(type='FrozenResNet', depth=50),
    data_preprocessor=dict(
        type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]
    ),
    matcher=dict(topk=3, score_threshold=0.5, iou_filter='official'),
    criterion=dict(verb_weight=1.6, distill_weight=700.0, verb_loss='focal_bce'),
    teacher=dict(type='OnlineTeacher', clip=dict(type='CLIP', weights='ckpt/RN50x16.pt')),
    nms=dict(threshold=0.7, alpha=1.0, beta=0.5),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.augmentation,
            dict(
                type='BuildPairTargets',
                unseen=unseen,
                hide='verb',
                pairs='cross',
                guard_seen=True,
            ),
            dict(type='PackHOIInputs'),
        ]
    )
)
val_evaluator = dict(type='HICODetMetric', unseen=unseen)
test_evaluator = val_evaluator
