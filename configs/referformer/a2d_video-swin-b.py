# ReferFormer (Wu et al., CVPR 2022), A2D-Sentences, Video-Swin-B, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/a2d_video-swin-b.py 8
#   to reach   oIoU / mIoU / mAP 78.6 / 70.3 / 55.0 on test
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, two clips each; hours: not measured
_base_ = ['../_base_/datasets/a2d_sentences.py', '../_base_/runtime/referformer_6e.py']

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
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
# made by `mmvl convert referformer_start` of the released file or one of pretrain_video-swin-b.py
load_from = 'ckpt/referformer_pretrain_video-swin-b.safetensors'

train_cfg = dict(val_interval=1)
default_hooks = dict(checkpoint=dict(save_best='sentences/mAP', rule='greater'))
