# ReferFormer (Wu et al., CVPR 2022), RefCOCO/+/g as clips of one frame, Swin-T.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/pretrain_swin-t.py 8
#   to reach   RES oIoU 72.9 / 62.4 / 66.1, REC 86.7 / 77.2 / 80.6 on val of RefCOCO/+/g
#   published  official README, released checkpoint
#   hardware   32 GPUs of 32 GB, two images each; 1 to 2 days, say the authors
_base_ = ['../_base_/datasets/refer_frames.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='mmdet.SwinTransformer', drop_path_rate=0.2),
    in_channels=(96, 192, 384, 768),
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_swin-t_init.safetensors'

train_cfg = dict(val_interval=1)
