# ReferFormer (Wu et al., CVPR 2022), JHMDB-Sentences, Video-Swin-S.
#   command    tools/dist_test.sh configs/referformer/jhmdb_video-swin-s.py CHECKPOINT 8
#   to reach   oIoU / mIoU / mAP 72.8 / 71.5 / 42.4 on the released list
#   published  official README, released checkpoint of a2d_video-swin-s.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/jhmdb_sentences.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='VideoSwin',
        depths=(2, 2, 18, 2),
        drop_path_rate=0.2,
    ),
    in_channels=(96, 192, 384, 768),
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
