# VG-LAW (Su et al., CVPR 2023), RefCOCO, boxes and masks.
#   command    tools/dist_train.sh configs/vg_law/refcoco.py 8
#   to reach   REC 86.62 / 89.32 / 83.16, RES mIoU 75.62 / 77.51 / 72.89 on val / testA / testB
#   published  table 1 and official README; ViTDet pre-trained without the val and test images
#   hardware   8 GPUs of 32 images each; hours: not measured
_base_ = ['../_base_/datasets/refer_448.py', '../_base_/runtime/vg_law_90e.py']

model = dict(
    type='VGLAW',
    variant='svd',
    with_mask=True,
    text_encoder=dict(type='BertText', vocab='bert-base-uncased', num_layers=6, max_length=40),
    backbone=dict(type='AdaptiveViTDet', image_size=448, drop_path_rate=0.1),
)
# weights to start from: `mmvl convert vitdet` and `mmvl convert bert`, joined into one file
load_from = 'ckpt/vg_law_init.safetensors'
