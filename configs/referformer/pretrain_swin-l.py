# ReferFormer (Wu et al., CVPR 2022), RefCOCO/+/g as clips of one frame, Swin-L.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/pretrain_swin-l.py 8
#   to reach   RES oIoU 77.1 / 65.8 / 69.3, REC 89.8 / 80.0 / 83.9 on val of RefCOCO/+/g
#   published  official README, released checkpoint
#   hardware   32 GPUs of 32 GB, two images each; 1 to 2 days, say the authors
_base_ = ['../_base_/datasets/refer_frames.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='mmdet.SwinTransformer',
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        drop_path_rate=0.3,
        # less memory, as the authors do; the results are the same
        with_cp=True,
    ),
    in_channels=(192, 384, 768, 1536),
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_swin-l_init.safetensors'

train_cfg = dict(val_interval=1)
