# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS and RefCOCO/+/g jointly, Swin-L.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/joint_swin-l.py 8
#   to reach   J&F / J / F 64.2 / 62.3 / 66.2 on valid of Ref-YouTube-VOS, by the server
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
        type='mmdet.SwinTransformer',
        embed_dims=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        drop_path_rate=0.3,
        # less memory, as the authors do; the results are the same
        with_cp=True,
    ),
    in_channels=(192, 384, 768, 1536),
    freeze_text=True,
    test_cfg=dict(mode='video'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_swin-l_init.safetensors'

val_evaluator = dict(out_dir='work_dirs/joint_swin-l/valid')
test_evaluator = dict(out_dir='work_dirs/joint_swin-l/valid')
