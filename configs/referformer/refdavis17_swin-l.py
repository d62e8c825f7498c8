# ReferFormer (Wu et al., CVPR 2022), Ref-DAVIS17, Swin-L.
#   command    tools/dist_test.sh configs/referformer/refdavis17_swin-l.py CHECKPOINT 8
#   to reach   J&F / J / F 60.5 / 57.6 / 63.4 on valid, mean of four streams
#   published  official README, released checkpoint of refytvos_swin-l.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/ref_davis17.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='mmdet.SwinTransformer',
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        drop_path_rate=0.3,
    ),
    in_channels=(192, 384, 768, 1536),
    freeze_text=True,
    test_cfg=dict(mode='windows', window=36),
)

test_evaluator = dict(out_dir='work_dirs/refdavis17_swin-l')
