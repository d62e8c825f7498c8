# ALOcc-2D-mini (Chen et al., ICCV 2025), Occ3D-nuScenes, trained on what the cameras see.
#   command    tools/dist_train.sh configs/alocc/occ3d_2d_mini.py 8
#   to reach   mIoU / mIoU_D / IoU 41.43 / 35.44 / 70.04 of the voxels that the cameras see
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/occ3d.py', '../_base_/runtime/alocc_2d_mini.py']

# no stereo: the images of the key frame before are not read
_base_.train_pipeline[0].previous = False
_base_.test_pipeline[0].previous = False
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
