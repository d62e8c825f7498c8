# VG-LAW (Su et al., CVPR 2023), RefCOCOg (umd split), boxes and masks.
#   command    tools/dist_train.sh configs/vg_law/refcocog.py 8
#   to reach   REC 76.90 / 76.96, RES mIoU 65.63 / 66.08 on val / test
#   published  table 1 and official README; ViTDet pre-trained without the val and test images
#   hardware   8 GPUs of 32 images each; hours: not measured
_base_ = ['../_base_/datasets/refer_448.py', '../_base_/runtime/vg_law_90e.py']

name = 'refcocog'
split_by = 'umd'
val_split = 'val'
test_split = 'test'
train_dataloader = dict(dataset=dict(name=name, split_by=split_by))
val_dataloader = dict(dataset=dict(name=name, split_by=split_by, split=val_split))
test_dataloader = dict(dataset=dict(name=name, split_by=split_by, split=test_split))

model = dict(
    type='VGLAW',
    variant='svd',
    with_mask=True,
    text_encoder=dict(type='BertText', vocab='bert-base-uncased', num_layers=6, max_length=40),
    backbone=dict(type='AdaptiveViTDet', image_size=448, drop_path_rate=0.1),
)
# weights to start from: `mmvl convert vitdet` and `mmvl convert bert`, joined into one file
load_from = 'ckpt/vg_law_init.safetensors'
