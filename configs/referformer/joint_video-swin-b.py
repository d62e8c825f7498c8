# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS and RefCOCO/+/g jointly, Video-Swin-B.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/joint_video-swin-b.py 8
#   to reach   J&F / J / F 64.9 / 62.8 / 67.0 on valid of Ref-YouTube-VOS, by the server
#   published  official README, released checkpoint
#   hardware   32 GPUs of 32 GB, one clip each; 1 to 2 days, say the authors
_base_ = [
    '../_base_/datasets/refer_clips_ref_youtube_vos.py',
    '../_base_/runtime/referformer_12e.py',
]

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
    test_cfg=dict(mode='video'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_video-swin-b_init.safetensors'

val_evaluator = dict(out_dir='work_dirs/joint_video-swin-b/valid')
test_evaluator = dict(out_dir='work_dirs/joint_video-swin-b/valid')
