"""ALOcc against what the released code answered (see ``make_alocc.py``)."""

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alocc_case import (
    DENOISE_RATE,
    FRAMES,
    IMAGE_SIZE,
    SLOTS,
    VARIANTS,
    alocc_weights,
    calibration,
    depth_map,
    images,
    starts,
    thinned,
)
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmvl.occupancy import OccupancySample
from mmvl.occupancy.alocc import ALOcc
from mmvl.occupancy.alocc.cameras import Cameras
from mmvl.occupancy.alocc.convert import convert_released
from mmvl.occupancy.alocc.lift import occupancy_along_rays
from mmvl.registry import MODELS

GOLDEN = np.load(Path(__file__).parent / 'data' / 'alocc.npz', allow_pickle=False)
RUNTIME = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'runtime'
CASES = [(name, frame) for name in VARIANTS for frame in range(FRAMES)]


def settings(name: str) -> dict[str, Any]:
    """The model of a published config, with the small images and grid of the case."""
    variant = VARIANTS[name]
    config = Config.fromfile(RUNTIME / f'alocc_{name}.py').model
    config.lift.update(
        grid={axis: variant.grid[axis] for axis in 'xyz'},
        depth=variant.grid['depth'],
        image_size=IMAGE_SIZE,
    )
    config.depth_net.update(depth=variant.grid['depth'], image_size=IMAGE_SIZE)
    low, _, size = zip(*(variant.grid[axis] for axis in 'xyz'), strict=True)
    config.history.update(lower_bound=low, voxel_size=size)
    return config.to_dict()


@lru_cache(maxsize=1)
def model(name: str) -> ALOcc:
    """Ours with the seeded weights, which the converter takes from released names."""
    with DefaultScope.overwrite_default_scope('mmvl'):
        found = MODELS.build(settings(name)).eval()
    shapes = json.loads(str(GOLDEN[f'{name}/shapes']))
    found.load_state_dict(convert_released(alocc_weights(shapes)), strict=True)
    return found


def batch(name: str, frame: int) -> tuple[dict[str, Tensor], list[OccupancySample]]:
    """A frame of both sequences."""
    inputs = {'images': torch.stack([images(slot, frame) for slot in range(SLOTS)])}
    if VARIANTS[name].stereo:
        past = [images(slot, frame - 1) for slot in range(SLOTS)]
        inputs['previous_images'] = torch.stack(past)
    samples = []
    for slot, begins in enumerate(starts(frame)):
        fields: dict[str, Any] = calibration(slot, frame)
        samples.append(OccupancySample(metainfo={'starts_sequence': begins}, **fields))
    return inputs, samples


def with_parts(
    ours: ALOcc, stages: dict[str, Any], inputs: dict[str, Tensor], samples: list[OccupancySample]
) -> dict[str, Tensor | None]:
    """The answer to a frame; what parts of the model give on the way goes to ``stages``."""
    handles = [
        getattr(ours, part).register_forward_hook(
            lambda module, args, output, part=part: stages.update({part: output})
        )
        for part in ('depth_net', 'lift', 'history', 'voxel_neck')
    ]
    answer = ours(inputs, samples, mode='tensor')
    for handle in handles:
        handle.remove()
    return answer


@cache
def answers(name: str) -> list[dict[str, Tensor]]:
    """What every stage of ours answers to the frames, one after the other."""
    ours, found = model(name), []
    ours.reset_state()
    with torch.inference_mode():
        for frame in range(FRAMES):
            inputs, samples = batch(name, frame)
            stages: dict[str, Any] = {}
            answer = with_parts(ours, stages, inputs, samples)
            depth = stages.pop('depth_net')
            stages['volume'] = stages.pop('voxel_neck')
            stages |= {'context': depth.context, 'depth': depth.depth}
            stages['occupancy'] = occupancy_along_rays(depth.depth, depth.ray_weights)
            found.append({**stages, **{k: v for k, v in answer.items() if v is not None}})
    return found


@pytest.mark.parametrize(('name', 'frame'), CASES)
def test_every_stage_answers_as_released(name: str, frame: int) -> None:
    found = answers(name)[frame]
    for stage, values in found.items():
        label = f'{name}/{frame}/{stage}'
        assert values.shape == tuple(GOLDEN[f'{label}/shape']), label
        tolerance = 1e-3 if stage in ('mask_logits', 'flow') else 1e-4
        expected = torch.from_numpy(GOLDEN[label])
        torch.testing.assert_close(
            thinned(label, values),
            expected,
            rtol=1e-4,
            atol=tolerance,
        )


def test_lidar_depth_trains_and_denoises_as_released(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = model('3d')
    depth = torch.stack([depth_map(slot) for slot in range(SLOTS)])
    inputs, samples = batch('3d', 0)
    with torch.inference_mode():
        prediction = ours._predict_depth(inputs, Cameras.from_samples(samples, depth.device))
        bins = ours.depth_net.depth_bins(depth)
        loss = ours.depth_net.loss(prediction.depth, bins)
        monkeypatch.setattr(ours.lift, 'training', True)
        monkeypatch.setattr(ours.lift, 'denoise_rate', DENOISE_RATE)
        occupancy, _ = ours.lift.planes(prediction, bins)
    assert np.array_equal(bins.flatten(), GOLDEN['3d/depth_bins'])
    assert 0 < (bins >= 0).sum() < bins.numel()
    assert float(loss) == pytest.approx(float(GOLDEN['3d/loss_depth']), rel=1e-5)
    found = thinned('denoised', occupancy[:, :, : prediction.depth.shape[2]])
    expected = torch.from_numpy(GOLDEN['3d/denoised'])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
