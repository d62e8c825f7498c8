# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS, ResNet-101, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/refytvos_r101.py 8
#   to reach   J&F 57.3 on valid, by the server
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; about 2 hours an epoch, say the authors
_base_ = ['../_base_/datasets/ref_youtube_vos.py', '../_base_/runtime/referformer_6e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='FrozenResNet', depth=101, out_indices=(0, 1, 2, 3)),
    freeze_text=True,
    test_cfg=dict(mode='video'),
)
# made by `mmvl convert referformer_start` of the released file or one of pretrain_r101.py
load_from = 'ckpt/referformer_pretrain_r101.safetensors'

val_evaluator = dict(out_dir='work_dirs/refytvos_r101/valid')
test_evaluator = dict(out_dir='work_dirs/refytvos_r101/valid')
