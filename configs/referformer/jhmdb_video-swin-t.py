# ReferFormer (Wu et al., CVPR 2022), JHMDB-Sentences, Video-Swin-T.
#   command    tools/dist_test.sh configs/referformer/jhmdb_video-swin-t.py CHECKPOINT 8
#   to reach   oIoU / mIoU / mAP 71.9 / 71.0 / 42.2 on the released list
#   published  official README, released checkpoint of a2d_video-swin-t.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/jhmdb_sentences.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='VideoSwin', drop_path_rate=0.2),
    in_channels=(96, 192, 384, 768),
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
