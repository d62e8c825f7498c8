# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS, Video-Swin-T, not pre-trained on images.
#   command    tools/dist_train.sh configs/referformer/refytvos_video-swin-t_scratch.py 8
#   to reach   J&F 56.0 on valid, by the server
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; hours: not measured
_base_ = ['../_base_/datasets/ref_youtube_vos.py', '../_base_/runtime/referformer_6e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='VideoSwin', drop_path_rate=0.2),
    in_channels=(96, 192, 384, 768),
    freeze_text=True,
    test_cfg=dict(mode='video'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_video-swin-t_init.safetensors'

val_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-t_scratch/valid')
test_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-t_scratch/valid')

train_cfg = dict(max_epochs=10, val_interval=10)
param_scheduler = [dict(type='MultiStepLR', milestones=[6, 8], gamma=0.1, by_epoch=True)]
