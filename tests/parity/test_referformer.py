"""ReferFormer against what the released code answered (see ``make_referformer.py``)."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from referformer_case import (
    BACKBONES,
    CASES,
    TEXT,
    clips,
    criterion_case,
    referformer_weights,
    thinned,
    tokens,
)

from mmvl.layers.video_swin import relative_position_index
from mmvl.video.referformer import ReferFormer, ReferFormerCriterion
from mmvl.video.referformer.convert import convert_released
from mmvl.video.referformer.losses import ClipOutputs, ClipTargets, thin_masks
from mmvl.video.structures import ClipDataSample

GOLDEN = torch.load(Path(__file__).parent / 'data' / 'referformer.pt', weights_only=True)
CONFIGS: dict[str, dict[str, Any]] = {
    'resnet50': {'type': 'FrozenResNet', 'depth': 50, 'out_indices': (0, 1, 2, 3)},
    'swin_t_p4w7': {'type': 'mmdet.SwinTransformer', 'drop_path_rate': 0.2},
    'video_swin_t_p4w7': {'type': 'VideoSwin'},
}


@cache
def model(backbone: str) -> ReferFormer:
    """Ours with the seeded weights, which the converter takes from released names."""
    channels = (256, 512, 1024, 2048) if backbone == 'resnet50' else (96, 192, 384, 768)
    text = {'type': 'RobertaText', 'vocab': '', **TEXT}
    found = ReferFormer(text, CONFIGS[backbone], channels).eval()
    shapes = GOLDEN['models'][backbone]['shapes']
    released = referformer_weights(shapes)
    # no weights, so the seeds leave them out
    for name in shapes.keys() - released.keys():
        window = (8, 7, 7) if backbone.startswith('video') else (1, 7, 7)
        released[name] = relative_position_index(window)
    state = convert_released(released)
    own = {k: v.clone() for k, v in found.state_dict().items() if k.endswith('position_index')}
    assert all(torch.equal(state[name], index) for name, index in own.items())
    found.load_state_dict(state, strict=True)
    return found


def batch(name: str) -> tuple[torch.Tensor, list[ClipDataSample]]:
    """The clips of a case, padded, and their samples."""
    case, frames = CASES[name], clips(name)
    sides = [max(sizes) for sizes in zip(*case.sizes, strict=True)]
    sides = [side + -side % case.divisor for side in sides]
    inputs = torch.zeros(len(frames), case.frames, 3, *sides)
    samples = []
    for i, (each, size) in enumerate(zip(frames, case.sizes, strict=True)):
        inputs[i, ..., : size[0], : size[1]] = each
        target = None if case.annotated is None else case.annotated[i]
        meta = {'text': f'{name}/{i}', 'img_shape': size, 'target': target}
        samples.append(ClipDataSample(metainfo=meta))
    return inputs, samples


@pytest.mark.parametrize(
    ('backbone', 'name'),
    [(backbone, name) for backbone, names in BACKBONES.items() for name in names],
)
def test_every_layer_answers_as_released(
    backbone: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, expected = model(backbone), GOLDEN['models'][backbone]['cases'][name]
    ids, mask = tokens(name)
    monkeypatch.setattr(ours.text_encoder, 'tokenize', lambda texts: (ids, mask.bool()))
    with torch.inference_mode():
        found = ours(*batch(name))
    close = {'rtol': 0, 'atol': 1e-4}
    torch.testing.assert_close(found.logits, expected['pred_logits'][..., 0], **close)
    torch.testing.assert_close(found.boxes, expected['pred_boxes'], **close)
    assert found.masks.shape == expected['mask_shape']
    torch.testing.assert_close(thinned(found.masks), expected['pred_masks'], **close)
    torch.testing.assert_close(found.masks.mean((-2, -1)), expected['mask_mean'], **close)


@pytest.mark.parametrize('seed', range(12))
def test_matches_and_losses_are_those_of_the_released_criterion(seed: int) -> None:
    predictions, found = criterion_case(seed)
    expected = GOLDEN['criterion'][f'1/{seed}']
    size = predictions['pred_masks'].shape[-2:]
    outputs = ClipOutputs(
        predictions['pred_logits'][..., 0], predictions['pred_boxes'], predictions['pred_masks']
    )
    targets = ClipTargets(
        torch.stack([target['boxes'] for target in found]),
        thin_masks([target['masks'].bool() for target in found], size),
        torch.stack([target['valid'].bool() for target in found]),
    )
    criterion = ReferFormerCriterion()
    assert torch.equal(criterion.match(outputs, targets), expected['queries'])
    losses = {name: float(value) for name, value in criterion(outputs, targets).items()}
    weighted = {k: v * expected['weights'][k] for k, v in expected['losses'].items()}
    assert losses == pytest.approx(weighted, rel=1e-5, abs=1e-5)
