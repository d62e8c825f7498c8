"""Released EoID and DETR checkpoints, turned into ours."""

import re
from pathlib import Path

from torch import Tensor

from mmvl.engine.checkpoint import load_checkpoint_file, save_converted
from mmvl.hoi.vocabulary import COCO_IDS

PREFIXES = (
    ('backbone.0.body.', 'backbone.'),
    ('transformer.encoder.', 'encoder.'),
    ('transformer.decoder.', 'pair_decoder.'),
    ('transformer.interaction_decoder.', 'interaction_decoder.'),
    ('obj_class_embed.', 'object_head.'),
    ('verb_class_embed.', 'verb_head.'),
    ('is_embed.', 'interactive_head.'),
    ('sub_bbox_embed.', 'subject_box_head.'),
    ('obj_bbox_embed.', 'object_box_head.'),
    ('input_proj.', 'input_proj.'),
    ('query_embed.', 'query_embed.'),
)
"""Released prefix -> ours. Behind the prefix the names are the same, but for the cross-attention
and for batch counters, which frozen norms do not have."""

LAYOUTS = {
    'EoID': tuple(own for _, own in PREFIXES),
    "EoID as released, for 'mmvl convert eoid'": tuple(released for released, _ in PREFIXES),
    "DETR as released, for 'mmvl convert detr'": (
        *('backbone.0.body.', 'transformer.encoder.', 'transformer.decoder.'),
        *('class_embed.', 'bbox_embed.', 'input_proj.', 'query_embed.'),
    ),
}
"""Whose checkpoint it is, told from how the names in it begin."""

NO_OBJECT_ROW = 91
DETR_DECODER_LAYERS = 3


def convert_eoid(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the ``model`` part of a released EoID or CDN checkpoint.

    Args:
        state: released names -> tensors.

    Returns:
        Our names -> the same tensors, without reshaping.

    Raises:
        ValueError: a key has no place in EoID; the message names it.
    """
    return {_rename(key): value for key, value in state.items()}


def convert_detr(state: dict[str, Tensor], num_queries: int = 64) -> dict[str, Tensor]:
    """Make the initialisation of EoID from the ``model`` part of DETR-R50.

    The classifier keeps the rows of the 80 categories that COCO uses and of "no object"; subject
    and object boxes both start from DETR's box head; the pair decoder takes decoder layers 0 to 2
    and the final norm; the query embedding is cut. The interaction decoder, the verb and the
    interactive head stay as they were initialised: the released converter writes keys for the
    interaction decoder that its model does not read.

    Args:
        state: DETR's names -> tensors.
        num_queries: queries of the model.

    Returns:
        Our names -> tensors; a part of the model.

    Raises:
        ValueError: a key has no place in DETR; the message names it.
    """
    ours = {}
    for key, value in state.items():
        layer = re.match(r'transformer\.decoder\.layers\.(\d+)\.', key)
        if layer and int(layer[1]) >= DETR_DECODER_LAYERS:
            continue
        if key.startswith('class_embed.'):
            rows = [*COCO_IDS.tolist(), NO_OBJECT_ROW]
            ours[key.replace('class_embed.', 'object_head.')] = value[rows].clone()
        elif key.startswith('bbox_embed.'):
            ours[key.replace('bbox_embed.', 'subject_box_head.')] = value.clone()
            ours[key.replace('bbox_embed.', 'object_box_head.')] = value.clone()
        elif key == 'query_embed.weight':
            ours[key] = value[:num_queries].clone()
        else:
            ours[_rename(key)] = value
    return ours


def _rename(key: str) -> str:
    for released, own in PREFIXES:
        if key.startswith(released):
            return own + key[len(released) :].replace('.multihead_attn.', '.cross_attn.')
    raise ValueError(f'{key!r} is no key of a released EoID or DETR checkpoint')


CONVERTERS = {'eoid': convert_eoid, 'detr': convert_detr}


def convert_file(method: str, source: str | Path, target: str | Path) -> None:
    """Convert a released checkpoint to a ``.safetensors`` file of ours.

    Args:
        method: 'eoid' for a released EoID or CDN checkpoint, 'detr' for DETR-R50.
        source: the released file; loaded without executing anything in it.
        target: the file to write.

    Raises:
        ValueError: the file holds no ``model`` part, or a key that is not the method's.
    """
    checkpoint = load_checkpoint_file(source)
    if 'model' not in checkpoint:
        raise ValueError(
            f"{source}: no 'model' in this checkpoint (found: {', '.join(list(checkpoint)[:6])}); "
            f'is it a released {method} file?'
        )
    ours = CONVERTERS[method](checkpoint['model'])
    save_converted(ours, len(checkpoint['model']), method, source, target)
