# ALOcc-2D-mini (Chen et al., ICCV 2025), Occ3D-nuScenes, trained on all voxels.
#   command    tools/dist_train.sh configs/alocc/occ3d_2d_mini_nomask.py 8
#   to reach   mIoU / mIoU_D 33.38 / 31.34, RayIoU 39.28 (32.90 / 40.13 / 44.80 at 1, 2, 4 m)
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/occ3d.py', '../_base_/runtime/alocc_2d_mini.py']

# no stereo: the images of the key frame before are not read
_base_.train_pipeline[0].previous = False
_base_.test_pipeline[0].previous = False
# all voxels are trained and measured, seen or not
_base_.train_pipeline[2].supervise = None
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_base_.test_pipeline))
val_evaluator = [dict(type='OccupancyMIoU', mask=None), dict(type='RayIoUMetric')]
test_evaluator = val_evaluator
