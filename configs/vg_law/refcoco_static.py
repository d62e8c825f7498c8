# VG-LAW (Su et al., CVPR 2023), RefCOCO, weights that do not depend on the sentence.
#   command    tools/dist_train.sh configs/vg_law/refcoco_static.py 8
#   to reach   no number: the baseline that shows the gain
#   published  no published number
#   hardware   8 GPUs of 32 images each; hours: not measured
_base_ = ['../_base_/datasets/refer_448.py', '../_base_/runtime/vg_law_90e.py']

model = dict(
    type='VGLAW',
    variant='static',
    with_mask=True,
    text_encoder=dict(type='BertText', vocab='bert-base-uncased', num_layers=6, max_length=40),
    backbone=dict(type='AdaptiveViTDet', image_size=448, drop_path_rate=0.1),
)
# weights to start from: `mmvl convert vitdet` and `mmvl convert bert`, joined into one file
load_from = 'ckpt/vg_law_init.safetensors'
