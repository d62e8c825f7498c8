# ReferFormer (Wu et al., CVPR 2022), RefCOCO/+/g as clips of one frame, Video-Swin-B.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/pretrain_video-swin-b.py 8
#   to reach   no number: the start of the other configs
#   published  no published number, but a released checkpoint
#   hardware   32 GPUs of 32 GB, two images each; 1 to 2 days, say the authors
_base_ = ['../_base_/datasets/refer_frames.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='VideoSwin',
        embed_dims=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.3,
        # less memory, as the authors do; the results are the same
        with_cp=True,
    ),
    in_channels=(128, 256, 512, 1024),
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_video-swin-b_init.safetensors'

train_cfg = dict(val_interval=1)
