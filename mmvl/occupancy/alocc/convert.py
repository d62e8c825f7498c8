"""Released weights of ALOcc, turned into ours."""

import re
from pathlib import Path

import torch
from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, save_converted, state_dict_of

from .head import KEYS as HEAD_KEYS
from .history import KEYS as HISTORY_KEYS
from .voxel_encoder import KEYS as VOXEL_KEYS

SHORTCUT = 'depth_net.depth_conv.0.downsample.'
SAME_SHORTCUT = 'depth_net.occ_conv.0.downsample.'
ASPP = 'depth_net.depth_conv.extra'
# Released pattern -> ours; the first that fits the beginning of a name.
KEYS = (
    (r'img_backbone\.', r'img_backbone.'),
    (r'pre_process\.', r'pre_process.'),
    (r'img_neck\.lateral_convs\.(\d)\.conv\.', r'img_neck.lateral_convs.\1.'),
    (r'img_neck\.fpn_convs\.0\.conv\.', r'img_neck.output_conv.'),
    (r'depth_net\.(reduce_conv|context_conv)\.', r'depth_net.\1.'),
    (r'depth_net\.bn\.', r'depth_net.camera_norm.'),
    (r'depth_net\.(depth|context)_mlp\.fc1\.', r'depth_net.\1_gate.mlp.0.'),
    (r'depth_net\.(depth|context)_mlp\.fc2\.', r'depth_net.\1_gate.mlp.2.'),
    (r'depth_net\.(depth|context)_se\.conv_reduce\.', r'depth_net.\1_gate.gate.0.'),
    (r'depth_net\.(depth|context)_se\.conv_expand\.', r'depth_net.\1_gate.gate.2.'),
    (r'depth_net\.cost_volumn_net\.', r'depth_net.cost_net.'),
    (re.escape(SHORTCUT), r'depth_net.shortcut.'),
    (r'depth_net\.depth_conv\.0\.', r'depth_net.depth_conv.first.'),
    (r'depth_net\.depth_conv\.1\.', r'depth_net.depth_conv.blocks.0.'),
    (r'depth_net\.depth_conv\.2\.', r'depth_net.depth_conv.blocks.1.'),
    # branches count from 1 in released files
    *(
        (rf'depth_net\.depth_conv\.3\.aspp{i + 1}\.{released}\.', f'{ASPP}.branches.{i}.{own}.')
        for i in range(4)
        for released, own in (('atrous_conv', 0), ('bn', 1))
    ),
    (r'depth_net\.depth_conv\.3\.global_avg_pool\.1\.', r'depth_net.depth_conv.extra.pooled.0.'),
    (r'depth_net\.depth_conv\.3\.global_avg_pool\.2\.', r'depth_net.depth_conv.extra.pooled.1.'),
    (r'depth_net\.depth_conv\.3\.conv1\.', r'depth_net.depth_conv.extra.output.0.'),
    (r'depth_net\.depth_conv\.3\.bn1\.', r'depth_net.depth_conv.extra.output.1.'),
    (r'depth_net\.depth_conv\.4\.', r'depth_net.depth_conv.output.'),
    (r'depth_net\.occ_conv\.0\.', r'depth_net.occupancy_conv.first.'),
    (r'depth_net\.occ_conv\.1\.', r'depth_net.occupancy_conv.blocks.0.'),
    (r'depth_net\.occ_conv\.2\.', r'depth_net.occupancy_conv.blocks.1.'),
    (r'depth_net\.occ_conv\.3\.', r'depth_net.occupancy_conv.output.'),
    (r'depth_net\.depth2occ_inter_weight_net\.', r'depth_net.neighbour_weights.'),
    (r'depth_net\.depth2occ_inter_bias_net\.', r'depth_net.neighbour_offsets.'),
    *VOXEL_KEYS,
    *HISTORY_KEYS,
    *HEAD_KEYS,
)
# The size of the grid, which is in the config.
LEFT_OUT = (r'view_transformer\.(dx|bx|nx)$',)
LAYOUTS: dict[str, tuple[str, ...]] = {
    'ALOcc': (
        *('img_backbone.', 'img_neck.', 'depth_net.camera_norm.', 'pre_process.', 'history.'),
        *('voxel_encoder.', 'voxel_neck.', 'head.'),
    ),
    "ALOcc as released, for 'mmvl convert alocc'": (
        *('img_backbone.', 'img_neck.', 'depth_net.bn.', 'view_transformer.', 'pre_process.'),
        *('history_keyframe_', 'img_bev_encoder_', 'final_conv.', 'alocc_head.'),
    ),
}
"""Whose checkpoint it is, told from how the names in it begin."""


def convert_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a released checkpoint, of any variant.

    The two stacks of the depth net share their first shortcut, which is stored twice.

    Args:
        state: released names -> tensors.

    Returns:
        Our names -> tensors, the whole model.

    Raises:
        ValueError: a key has no place in ALOcc, or the two shortcuts differ; the message names it.
    """
    ours = {}
    for name, value in state.items():
        if name.startswith(SAME_SHORTCUT):
            twin = name.replace(SAME_SHORTCUT, SHORTCUT)
            if twin not in state or not torch.equal(state[twin], value):
                raise ValueError(
                    f"'{name}' is not the same as '{twin}'.\n"
                    'ALOcc has one shortcut for both: is it a checkpoint of the released code?'
                )
        elif not any(re.match(pattern, name) for pattern in LEFT_OUT):
            ours[_rename(name)] = value
    return ours


def convert_start(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take what ALOcc starts from out of a checkpoint of BEVDet: image backbone and neck.

    Args:
        state: released names -> tensors.

    Returns:
        Our names -> tensors.

    Raises:
        ValueError: there is no image backbone or no neck in the dictionary.
    """
    parts = ('img_backbone.', 'img_neck.')
    for part in parts:
        if not any(name.startswith(part) for name in state):
            raise ValueError(f"no name begins with '{part}': is it a checkpoint of BEVDet?")
    return {_rename(name): value for name, value in state.items() if name.startswith(parts)}


def _rename(name: str) -> str:
    for pattern, own in KEYS:
        found = re.match(pattern, name)
        if found:
            return found.expand(own) + name[found.end() :]
    raise ValueError(f"'{name}' is no key of a released ALOcc checkpoint")


CONVERTERS = {'alocc': convert_released, 'bevdet': convert_start}


def convert_file(method: str, source: str | Path, target: str | Path) -> None:
    """Convert a checkpoint to a ``.safetensors`` file that ``load_from`` takes.

    Args:
        method: 'alocc' for a released checkpoint, 'bevdet' for the one that training starts from.
        source: the file; loaded without executing anything in it.
        target: the file to write.

    Raises:
        ValueError: a key is not the method's, or the file is refused.
    """
    state = state_dict_of(load_checkpoint_file(source))
    ours = CONVERTERS[method](state)
    save_converted(ours, len(state), method, source, target)
