# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS, Swin-L, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/refytvos_swin-l.py 8
#   to reach   J&F 62.4 on valid, by the server
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; about 2 hours an epoch, say the authors
_base_ = ['../_base_/datasets/ref_youtube_vos.py', '../_base_/runtime/referformer_6e.py']

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
# made by `mmvl convert referformer_start` of the released file or one of pretrain_swin-l.py
load_from = 'ckpt/referformer_pretrain_swin-l.safetensors'

val_evaluator = dict(out_dir='work_dirs/refytvos_swin-l/valid')
test_evaluator = dict(out_dir='work_dirs/refytvos_swin-l/valid')
