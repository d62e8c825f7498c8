# ReferFormer on the drawn world, trained on clips of five frames and run on them.
#   command    mmvl train configs/referformer/toy.py    (`make video` runs all of it)
#   to reach   see configs/referformer/README.md
#   published  a toy world of this project: no published number
#   hardware   one CPU core, minutes
_base_ = ['../_base_/datasets/toy_rvos.py', '../_base_/runtime/toy_rvos.py']

model = dict(
    type='ReferFormer',
    # 48 x 64 pixels need no padding
    data_preprocessor=dict(type='ClipPreprocessor', divisor=16),
    text_encoder=dict(
        type='RobertaText',
        vocab=_base_.data_root + 'vocab.txt',
        vocab_size=35,
        max_position_embeddings=24,
        num_hidden_layers=1,
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    ),
    # as in mmvl/video/toy/start.py
    backbone=dict(
        type='VideoSwin',
        embed_dims=32,
        depths=(1, 2, 1, 1),
        num_heads=(2, 4, 8, 8),
        window=(5, 3, 8),
        mlp_ratio=2,
        drop_path_rate=0.0,
    ),
    in_channels=(32, 64, 128, 256),
    embed_dims=64,
    num_heads=4,
    ffn_dims=128,
    encoder_layers=0,
    decoder_layers=1,
    dropout=0.0,
    num_queries=1,
    # with one query nothing is to be chosen, and what counts are the small masks of this world
    criterion=dict(box_weight=1.0, giou_weight=0.4, mask_weight=40.0, dice_weight=20.0),
    test_cfg=dict(mode='windows', window=5),
)
load_from = _base_.data_root + 'pretrained.pth'
