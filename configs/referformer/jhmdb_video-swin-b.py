# ReferFormer (Wu et al., CVPR 2022), JHMDB-Sentences, Video-Swin-B.
#   command    tools/dist_test.sh configs/referformer/jhmdb_video-swin-b.py CHECKPOINT 8
#   to reach   oIoU / mIoU / mAP 73.0 / 71.8 / 43.7 on the released list
#   published  official README, released checkpoint of a2d_video-swin-b.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/jhmdb_sentences.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='VideoSwin',
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.3,
    ),
    in_channels=(128, 256, 512, 1024),
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
