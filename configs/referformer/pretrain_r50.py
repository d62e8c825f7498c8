# ReferFormer (Wu et al., CVPR 2022), RefCOCO/+/g as clips of one frame, ResNet-50.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/pretrain_r50.py 8
#   to reach   RES oIoU 71.1 / 64.1 / 64.1, REC 85.0 / 79.2 / 79.0 on val of RefCOCO/+/g
#   published  official README, released checkpoint
#   hardware   32 GPUs of 32 GB, two images each; 1 to 2 days, say the authors
_base_ = ['../_base_/datasets/refer_frames.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='FrozenResNet', depth=50, out_indices=(0, 1, 2, 3)),
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_r50_init.safetensors'

train_cfg = dict(val_interval=1)
