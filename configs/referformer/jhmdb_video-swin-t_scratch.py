# ReferFormer (Wu et al., CVPR 2022), JHMDB-Sentences, Video-Swin-T, not pre-trained on images.
#   command    tools/dist_test.sh configs/referformer/jhmdb_video-swin-t_scratch.py CHECKPOINT 8
#   to reach   oIoU / mIoU / mAP 70.0 / 69.3 / 39.1 on the released list
#   published  official README, released checkpoint of a2d_video-swin-t_scratch.py
#   hardware   any number of GPUs; hours: not measured
_base_ = ['../_base_/datasets/jhmdb_sentences.py', '../_base_/runtime/referformer_test.py']

model = dict(
    type='ReferFormer',
    text_encoder=dict(type='RobertaText', vocab='ckpt/roberta-base'),
    backbone=dict(type='VideoSwin', drop_path_rate=0.2),
    in_channels=(96, 192, 384, 768),
    freeze_text=True,
    test_cfg=dict(mode='frame'),
)

# the released weights were trained with six frames, and have to be tested with six
num_frames = 6
test_dataloader = dict(dataset=dict(num_frames=num_frames))
