"""Weights of others, turned into those of VG-LAW: ViTDet, BERT, and the names of the release."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, save_converted, state_dict_of
from mmvl.engine.pickles import read_pickle

# Released (MindSpore) prefix -> ours.
PREFIXES = (
    ('visual_encoder.', 'visual_encoder.'),
    ('weight_generator.layer_embedding', 'weight_generator.aggregation.layer_embedding'),
    ('weight_generator.S', 'weight_generator.left'),
    ('weight_generator.D', 'weight_generator.right'),
    ('weight_generator.proj.', 'weight_generator.proj.'),
    ('ada_gap.', 'box_head.'),
    ('bbox_pred.', 'box_head.mlp.'),
    ('up_sample.', 'mask_head.up_sample.'),
)
LAYOUTS = {
    'VG-LAW': (
        *('text_encoder.bert.', 'visual_encoder.blocks.', 'box_head.'),
        *('weight_generator.', 'mask_head.'),
    ),
    "ViTDet Mask R-CNN, for 'mmvl convert vitdet'": (
        *('backbone.net.', 'backbone.simfp', 'proposal_generator.', 'roi_heads.'),
    ),
    "ViTDet Mask R-CNN of mmdet, for 'mmvl convert vitdet'": (
        *('backbone.', 'neck.', 'rpn_head.', 'roi_head.'),
    ),
}
"""Whose checkpoint it is, told from how the names in it begin."""

WINDOW_BLOCK, GLOBAL_BLOCK = 27, 55
# Half a gigabyte is usual.
MAX_PICKLE = 4 << 30


def convert_vitdet(state: dict[str, Tensor], rows: int = GLOBAL_BLOCK) -> dict[str, Tensor]:
    """Take the backbone out of a ViTDet Mask R-CNN, of detectron2 or mmdet.

    The relative positions of global blocks were trained for 1024 pixels (127 rows); the middle
    ``rows`` are kept, as in the released code of VG-LAW. Windows keep their 27.

    Args:
        state: names with ``backbone.net.`` or ``backbone.`` -> tensors.
        rows: of the tables of global blocks, 2 S - 1 for S patches a side.

    Returns:
        Our names -> tensors, the part ``visual_encoder`` of the model.

    Raises:
        ValueError: there is no such backbone in the dictionary.
    """
    prefix = 'backbone.net.' if any(k.startswith('backbone.net.') for k in state) else 'backbone.'
    ours = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if key == name or not name.startswith(('blocks.', 'patch_embed.', 'pos_embed')):
            continue
        if '.rel_pos_' in name and len(value) > max(rows, WINDOW_BLOCK):
            cut = (len(value) - rows) // 2
            value = value[cut : cut + rows].clone()
        ours[f'visual_encoder.{name}'] = value
    if not ours:
        raise ValueError(
            "no name begins with 'backbone.net.blocks.' or 'backbone.blocks.': is it a ViTDet?"
        )
    return ours


def convert_bert(state: dict[str, Tensor], num_layers: int = 6) -> dict[str, Tensor]:
    """Take the embeddings and the first layers out of a BERT of transformers.

    Args:
        state: names with or without ``bert.``; ``gamma`` and ``beta`` of old files are renamed.
        num_layers: layers to keep.

    Returns:
        Our names -> tensors, the part ``text_encoder`` of the model.

    Raises:
        ValueError: there is no BERT in the dictionary.
    """
    ours = {}
    for key, value in state.items():
        name = key.removeprefix('bert.')
        layer = name.split('.')[2] if name.startswith('encoder.layer.') else ''
        if layer.isdigit() and int(layer) >= num_layers:
            continue
        if name.startswith(('embeddings.', 'encoder.')) and not name.endswith('position_ids'):
            name = name.replace('.gamma', '.weight').replace('.beta', '.bias')
            ours[f'text_encoder.bert.{name}'] = value
    if not ours:
        raise ValueError("no name begins with 'embeddings.' or 'encoder.': is it a BERT?")
    return ours


def convert_released(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what is not text in a checkpoint of the released (MindSpore) code.

    Args:
        state: released names -> tensors, made without MindSpore, such as from an ``.npz`` of the
            checkpoint's arrays. The text encoder has the names of MindSpore's BERT and is taken
            from BERT itself (:func:`convert_bert`); its pooler is not used.

    Returns:
        Our names -> tensors; all but ``text_encoder``.

    Raises:
        ValueError: a key has no place in VG-LAW; the message names it.
    """
    ours = {}
    for key, value in state.items():
        if key.startswith('text_encoder.'):
            continue
        name = key.replace('.gamma', '.weight').replace('.beta', '.bias')
        for released, own in PREFIXES:
            if name.startswith(released):
                # 1x1 convolutions there, matrices here
                flat = value.squeeze(-1) if own.endswith(('left', 'right')) else value
                flat = flat.squeeze(1) if own.endswith('layer_embedding') else flat
                ours[own + name[len(released) :]] = flat
                break
        else:
            raise ValueError(f'{key!r} is no key of a released VG-LAW checkpoint')
    return ours


CONVERTERS = {'vitdet': convert_vitdet, 'bert': convert_bert, 'vg_law': convert_released}


def convert_file(method: str, source: str | Path, target: str | Path) -> None:
    """Convert a checkpoint to a ``.safetensors`` file that ``load_from`` takes.

    Args:
        method: 'vitdet', 'bert' or 'vg_law'.
        source: the file, a ``.pkl`` of detectron2's model zoo too; loaded without executing
            anything in it.
        target: the file to write.

    Raises:
        ValueError: a key is not the method's, or the file is refused.
    """
    pickled = Path(source).suffix == '.pkl'
    state = _read_arrays(source) if pickled else state_dict_of(load_checkpoint_file(source))
    ours = CONVERTERS[method](state)
    save_converted(ours, len(state), method, source, target)


def _read_arrays(source: str | Path) -> dict[str, Tensor]:
    """Read detectron2's form: a pickle of numpy arrays by name, below ``model``."""
    content = read_pickle(source, arrays=True, max_bytes=MAX_PICKLE)
    inner = content.get('model', content) if isinstance(content, dict) else {}
    found = {k: torch.from_numpy(v.copy()) for k, v in inner.items() if isinstance(v, np.ndarray)}
    if not found:
        raise ValueError(f'{source} holds no arrays by name.\nWhat to do: give a checkpoint.')
    return found
