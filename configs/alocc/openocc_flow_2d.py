# ALOccFlow-2D (Chen et al., ICCV 2025), OpenOcc: occupancy and flow.
#   command    tools/dist_train.sh configs/alocc/openocc_flow_2d.py 8
#   to reach   occ score / RayIoU 41.92 / 40.27, mAVE / mAVE_TP 0.530 / 0.431 m/s
#   published  head of the released config; converted weights
#   hardware   8 GPUs of 2 samples each; hours: not measured
_base_ = ['../_base_/datasets/openocc.py', '../_base_/runtime/alocc_flow_2d.py']
