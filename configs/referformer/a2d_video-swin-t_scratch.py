# ReferFormer (Wu et al., CVPR 2022), A2D-Sentences, Video-Swin-T, not pre-trained on images.
#   command    tools/dist_train.sh configs/referformer/a2d_video-swin-t_scratch.py 8
#   to reach   oIoU / mIoU / mAP 72.3 / 64.1 / 48.6 on test
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; hours: not measured
_base_ = ['../_base_/datasets/a2d_sentences.py', '../_base_/runtime/referformer_12e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='VideoSwin', drop_path_rate=0.2),
    in_channels=(96, 192, 384, 768),
    dropout=0.0,
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_video-swin-t_init.safetensors'

# the released weights were trained with six frames, and have to be tested with six
num_frames = 6
train_dataloader = dict(batch_size=1, dataset=dict(num_frames=num_frames))
val_dataloader = dict(dataset=dict(num_frames=num_frames))
test_dataloader = dict(dataset=dict(num_frames=num_frames))

optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(val_interval=1)
default_hooks = dict(checkpoint=dict(save_best='sentences/mAP', rule='greater'))
