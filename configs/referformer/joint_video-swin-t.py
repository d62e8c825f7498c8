# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS and RefCOCO/+/g jointly, Video-Swin-T.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/joint_video-swin-t.py 8
#   to reach   J&F / J / F 62.6 / 59.9 / 63.3 on valid of Ref-YouTube-VOS, by the server
#   published  official README, released checkpoint; the mean of J and F is another
#   hardware   32 GPUs of 32 GB, one clip each; 1 to 2 days, say the authors
_base_ = [
    '../_base_/datasets/refer_clips_ref_youtube_vos.py',
    '../_base_/runtime/referformer_12e.py',
]

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

val_evaluator = dict(out_dir='work_dirs/joint_video-swin-t/valid')
test_evaluator = dict(out_dir='work_dirs/joint_video-swin-t/valid')
