# ReferFormer (Wu et al., CVPR 2022), Ref-DAVIS17, Video-Swin-B.
#   command    tools/dist_test.sh configs/referformer/refdavis17_video-swin-b.py CHECKPOINT 8
#   to reach   J&F / J / F 61.1 / 58.1 / 64.1 on valid, mean of four streams
#   published  official README, released checkpoint of refytvos_video-swin-b.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/ref_davis17.py', '../_base_/runtime/referformer_test.py']

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
    test_cfg=dict(mode='windows', window=36),
)

test_evaluator = dict(out_dir='work_dirs/refdavis17_video-swin-b')
