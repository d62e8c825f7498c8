# VG-LAW on the drawn world: weights of the backbone that depend on the sentence.
#   command    mmvl train configs/vg_law/toy.py
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
    text_encoder=dict(
        type='BertText',
        vocab=vocab,
        vocab_size=86,
        num_layers=2,
        hidden_size=128,
        num_attention_heads=4,
        intermediate_size=256,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
    backbone=dict(
        type='AdaptiveViTDet',
        image_size=128,
        patch_size=8,
        embed_dims=128,
        depth=4,
        num_heads=4,
        mlp_ratio=2,
        window=8,
        global_blocks=(1, 3),
        drop_path_rate=0.0,
        pretrain_grid=16,
    ),
)
