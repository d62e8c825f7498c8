# ALOcc-3D (Chen et al., ICCV 2025), Occ3D-nuScenes, trained on what the cameras see.
#   command    tools/dist_train.sh configs/alocc/occ3d_3d.py 8
#   to reach   mIoU / mIoU_D / IoU 45.45 / 38.94 / 75.30 of the voxels that the cameras see
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/occ3d.py', '../_base_/runtime/alocc_3d.py']
