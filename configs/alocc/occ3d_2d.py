# ALOcc-2D (Chen et al., ICCV 2025), Occ3D-nuScenes, trained on what the cameras see.
#   command    tools/dist_train.sh configs/alocc/occ3d_2d.py 8
#   to reach   mIoU / mIoU_D / IoU 44.84 / 38.67 / 74.31 of the voxels that the cameras see
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/occ3d.py', '../_base_/runtime/alocc_2d.py']
