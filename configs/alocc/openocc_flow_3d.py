# ALOccFlow-3D (Chen et al., ICCV 2025), OpenOcc: occupancy and flow.
#   command    tools/dist_train.sh configs/alocc/openocc_flow_3d.py 8
#   to reach   occ score / RayIoU 43.13 / 41.90, mAVE / mAVE_TP 0.549 / 0.458 m/s
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/openocc.py', '../_base_/runtime/alocc_flow_3d.py']
