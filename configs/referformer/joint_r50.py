# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS and RefCOCO/+/g jointly, ResNet-50.
#   command    NNODES=4 ... tools/dist_train.sh configs/referformer/joint_r50.py 8
#   to reach   J&F / J / F 58.7 / 57.4 / 60.1 on valid of Ref-YouTube-VOS, by the server
#   published  official README, released checkpoint
#   hardware   32 GPUs of 32 GB, one clip each; 1 to 2 days, say the authors
_base_ = [
    '../_base_/datasets/refer_clips_ref_youtube_vos.py',
    '../_base_/runtime/referformer_12e.py',
]

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='FrozenResNet', depth=50, out_indices=(0, 1, 2, 3)),
    freeze_text=True,
    test_cfg=dict(mode='video'),
)
# weights to start from: `mmvl convert referformer_backbone` and `mmvl convert roberta`, joined
load_from = 'ckpt/referformer_r50_init.safetensors'

val_evaluator = dict(out_dir='work_dirs/joint_r50/valid')
test_evaluator = dict(out_dir='work_dirs/joint_r50/valid')
