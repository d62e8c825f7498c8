# ReferFormer (Wu et al., CVPR 2022), A2D-Sentences, Video-Swin-S, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/a2d_video-swin-s.py 8
#   to reach   oIoU / mIoU / mAP 77.7 / 69.8 / 53.9 on test
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, two clips each; hours: not measured
_base_ = ['../_base_/datasets/a2d_sentences.py', '../_base_/runtime/referformer_6e.py']

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
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
# made by `mmvl convert referformer_start` of the released file or one of pretrain_video-swin-s.py
load_from = 'ckpt/referformer_pretrain_video-swin-s.safetensors'

train_cfg = dict(val_interval=1)
default_hooks = dict(checkpoint=dict(save_best='sentences/mAP', rule='greater'))
