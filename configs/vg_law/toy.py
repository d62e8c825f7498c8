# VG-LAW on the drawn world: weights of the backbone that depend on the sentence.
#   command    mmvl train configs/vg_law/toy.py    (`make grounding` runs all of it)
#   to reach   see configs/vg_law/README.md
#   published  a toy world of this project: no published number
#   hardware   one CPU core, minutes
_base_ = ['../_base_/datasets/toy_rec.py', '../_base_/runtime/toy_rec.py']

# 'static' is the same model with weights that do not depend on the sentence
variant = 'svd'
vocab = _base_.data_root + 'vocab.txt'

model = dict(
    type='VGLAW',
    variant=variant,
    rank=32,
    generator_heads=4,
    generator_reduction=2,
    mask_dims=64,
    # the scale of the small masks and boxes of this world
    loss_weights=dict(loss_l1=5.0, loss_giou=2.0, loss_focal=20.0, loss_dice=2.0),
    text_encoder=dict(
        type='BertText',
        vocab=vocab,
        vocab_size=86,
        num_layers=1,
        hidden_size=96,
        num_attention_heads=4,
        intermediate_size=192,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.0,
    ),
    # as in mmvl/grounding/toy/start.py
    backbone=dict(
        type='AdaptiveViTDet',
        image_size=64,
        patch_size=8,
        embed_dims=96,
        depth=4,
        num_heads=4,
        mlp_ratio=2,
        window=4,
        global_blocks=(1, 3),
        drop_path_rate=0.0,
        pretrain_grid=8,
    ),
)
load_from = _base_.data_root + 'start.safetensors'
