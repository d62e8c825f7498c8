# ReferFormer (Wu et al., CVPR 2022), RefCOCO/+/g as clips of one frame, Video-Swin-S.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/pretrain_video-swin-s.py 8
#   to reach   no number: the start of the other configs
#   published  no published number, but a released checkpoint
#   hardware   32 GPUs of 32 GB, two images each; 1 to 2 days, say the authors
_base_ = ['../_base_/datasets/refer_frames.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='VideoSwin',
        depths=(2, 2, 18, 2),
        drop_path_rate=0.2,
        # less memory, as the authors do; the results are the same
        with_cp=True,
    ),
    in_channels=(96, 192, 384, 768),
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_video-swin-s_init.safetensors'

train_cfg = dict(val_interval=1)
