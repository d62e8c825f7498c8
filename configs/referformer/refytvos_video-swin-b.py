# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS, Video-Swin-B, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/refytvos_video-swin-b.py 8
#   to reach   J&F 62.9 on valid, by the server
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; about 2 hours an epoch, say the authors
_base_ = ['../_base_/datasets/ref_youtube_vos.py', '../_base_/runtime/referformer_6e.py']

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
# made by `mmvl convert referformer_start` of the released file or one of pretrain_video-swin-b.py
load_from = 'ckpt/referformer_pretrain_video-swin-b.safetensors'

val_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-b/valid')
test_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-b/valid')
