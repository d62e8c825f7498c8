# ReferFormer (Wu et al., CVPR 2022), Ref-DAVIS17, ResNet-50.
#   command    tools/dist_test.sh configs/referformer/refdavis17_r50.py CHECKPOINT 8
#   to reach   J&F / J / F 58.5 / 55.8 / 61.3 on valid, mean of four streams
#   published  official README, released checkpoint of refytvos_r50.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/ref_davis17.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='FrozenResNet', depth=50, out_indices=(0, 1, 2, 3)),
    freeze_text=True,
    test_cfg=dict(mode='windows', window=36),
)

test_evaluator = dict(out_dir='work_dirs/refdavis17_r50')
