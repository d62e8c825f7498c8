# ReferFormer (Wu et al., CVPR 2022), Ref-YouTube-VOS, Video-Swin-S, pre-trained on RefCOCO/+/g.
#   command    tools/dist_train.sh configs/referformer/refytvos_video-swin-s.py 8
#   to reach   J&F 60.1 on valid, by the server
#   published  official README, released checkpoint
#   hardware   8 GPUs of 32 GB, one clip each; about 2 hours an epoch, say the authors
_base_ = ['../_base_/datasets/ref_youtube_vos.py', '../_base_/runtime/referformer_6e.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(
        type='VideoSwin',
        depths=(2, 2, 18, 2),
        drop_path_rate=0.2,
        # less memory, as the authors do; the results are the same
        with_cp=True,
    ),
    in_channels=(96, 192, 384, 768),
    freeze_text=True,
    test_cfg=dict(mode='video'),
)
# made by `mmvl convert referformer_start` of the released file or one of pretrain_video-swin-s.py
load_from = 'ckpt/referformer_pretrain_video-swin-s.safetensors'

val_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-s/valid')
test_evaluator = dict(out_dir='work_dirs/refytvos_video-swin-s/valid')
