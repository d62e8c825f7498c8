"""ALOcc as a whole: sizes, losses and predictions, memory, hooks, converter."""

import copy
import logging
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from alocc_tiny import pictures, sample, tiny
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor

from mmvl.cli.main import main
from mmvl.engine import load_checkpoint_file
from mmvl.occupancy.alocc import (
    ALOcc,
    ALOccScheduleHook,
    TemporalStateHook,
)
from mmvl.occupancy.alocc.convert import convert_released, convert_start
from mmvl.occupancy.alocc.hooks import half_cosine
from mmvl.registry import HOOKS, MODELS

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    'alocc_3d': {
        'img_backbone': 23_508_032,
        'img_neck': 1_377_024,
        'depth_net': 9_602_625,
        'pre_process': 83_136,
        'history': 18_656,
        'voxel_encoder': 18_227_776,
        'voxel_neck': 23_136,
        'head': 14_336,
    },
    'alocc_2d': {
        'img_backbone': 23_508_032,
        'img_neck': 1_377_024,
        'depth_net': 9_614_961,
        'pre_process': 173_200,
        'history': 115_760,
        'voxel_encoder': 24_326_336,
        # its last convolution is a part of its own in released weights
        'voxel_neck': 2_802_688 + 1_770_240,
        'head': 16_688,
    },
    'alocc_2d_mini': {
        'img_backbone': 23_508_032,
        'img_neck': 1_377_024,
        'depth_net': 8_948_064,
        'history': 29_080,
        'voxel_encoder': 1_362_272,
        'voxel_neck': 406_016 + 590_336,
        'head': 7_272,
    },
    'alocc_flow_3d': {'head': 155_632},
    'alocc_flow_2d': {'head': 157_984},
}
TOTALS = {
    'alocc_3d': 52_854_721,
    'alocc_2d': 63_704_929,
    'alocc_2d_mini': 36_228_096,
    'alocc_flow_3d': 52_996_017,
    'alocc_flow_2d': 63_846_225,
}


@pytest.mark.parametrize('name', TOTALS)
def test_published_parameters(name: str) -> None:
    config = Config.fromfile(ROOT / f'configs/_base_/runtime/{name}.py').model
    with torch.device('meta'), DefaultScope.overwrite_default_scope('mmvl'):
        model = MODELS.build(config)
    assert sum(p.numel() for p in model.parameters()) == TOTALS[name]
    assert all(p.requires_grad for p in model.parameters())
    for part, number in PARTS[name].items():
        assert sum(p.numel() for p in getattr(model, part).parameters()) == number, part


@pytest.mark.parametrize('flat', [False, True])
def test_model_learns_and_predicts(flat: bool) -> None:
    model = tiny(flow=True, flat=flat).train()
    batch = [sample(slot, labels=True) for slot in range(2)]
    losses = model(pictures(2), batch, mode='loss')
    assert set(losses) == {
        *('loss_mask', 'loss_dice', 'img_seg_loss_mask', 'img_seg_loss_dice', 'loss_depth'),
        *('loss_flow', 'loss_flow_cosine', 'bin_ce_loss'),
    }
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert without == []
    model.eval()
    for frame in range(2):
        found = model(pictures(1, frame), [sample(0, frame)], mode='predict')[0]
        assert found.pred_semantics.shape == (8, 16, 8)
        assert found.pred_semantics.dtype == torch.uint8 and found.pred_semantics.max() < 18
        assert found.pred_flow.shape == (8, 16, 8, 2)


def test_training_needs_depth_maps_and_modes_are_named() -> None:
    model = tiny()
    bare = sample(labels=True)
    del bare.depth_map
    with pytest.raises(ValueError, match="Training needs 'depth_map'"):
        model(pictures(1), [bare], mode='loss')
    with pytest.raises(ValueError, match="'loss' or 'predict', not 'los'"):
        model(pictures(1), [bare], mode='los')


def test_images_must_be_those_of_the_calibration() -> None:
    inputs = pictures(1)
    inputs['images'] = inputs['images'][:, :1]
    with pytest.raises(ValueError, match=r'\(1, 1, 3, 32, 64\), not \(1, 2, 3, 32, 64\)') as info:
        tiny()(inputs, [sample()])
    assert 'sample 0/0' in str(info.value) and 'What to do' in str(info.value)


def run(model: ALOcc, frames: range) -> Tensor:
    with torch.no_grad():
        for frame in frames:
            answer = model(pictures(1, frame), [sample(0, frame)])
    return answer['mask_logits']


def test_state_is_carried_reset_and_taken_up() -> None:
    model = tiny(flow=True).eval()
    whole = run(model, range(3))
    run(model, range(2))
    state = model.temporal_state()
    assert {name.partition('.')[0] for name in state} == {'history', 'head'}
    model.reset_state()
    assert model.temporal_state() == {}
    assert not torch.allclose(run(model, range(2, 3)), whole)
    model.load_temporal_state(state)
    assert torch.equal(run(model, range(2, 3)), whole)
    with pytest.raises(ValueError, match='no temporal state'):
        model.load_temporal_state({'other.ages': torch.zeros(1)})


def process(model: ALOcc, rank: int, checkpoint: Path, **changes: Any) -> SimpleNamespace:
    """What the hook sees of the runner of one of two processes."""
    facts = {'world_size': 2, '_resume': True, 'logger': logging.getLogger(), **changes}
    return SimpleNamespace(model=model, rank=rank, _load_from=str(checkpoint), **facts)


def remembered(runner: SimpleNamespace) -> dict[str, Tensor]:
    TemporalStateHook().after_load_checkpoint(runner, {})
    return runner.model.train().temporal_state()


def test_each_process_keeps_its_memory_beside_the_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / 'iter_4.pth'
    states = []
    for rank in range(2):
        model = tiny().train()
        batch = [sample(slot, labels=True) for slot in range(2)]
        model(pictures(2, rank), batch, mode='loss')
        states.append(model.temporal_state())
        model.eval()
        TemporalStateHook().after_save_checkpoint(process(model, rank, checkpoint), checkpoint)
        assert not model.training
    for rank, expected in enumerate(states):
        found = remembered(process(tiny().eval(), rank, checkpoint))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    # a memory that has not begun is one as well
    hook, before = TemporalStateHook(), tmp_path / 'iter_1.pth'
    hook.after_save_checkpoint(process(tiny(), 0, before), before)
    assert remembered(process(tiny(), 0, before)) == {}
    # what is only started from has no past, nor has a process that there was not before
    assert remembered(process(tiny(), 0, checkpoint, _resume=False)) == {}
    assert remembered(process(tiny(), 0, checkpoint, world_size=3)) == {}


def test_the_memory_before_goes_when_the_checkpoint_is_there(tmp_path: Path) -> None:
    def kept() -> list[str]:
        return sorted(file.name.partition('.')[0] for file in tmp_path.glob('*.safetensors'))

    hook, runner = TemporalStateHook(), process(tiny(), 1, tmp_path / 'none.pth')
    for name, saved in (('iter_2', True), ('iter_4', False), ('iter_6', True)):
        hook.after_save_checkpoint(runner, tmp_path / f'{name}.pth')
        # the first process saves, or fails to, while this one goes on
        if saved:
            (tmp_path / f'{name}.pth').touch()
        before = kept()
        hook.after_train_iter(runner)
        if name == 'iter_4':
            assert before == ['iter_2', 'iter_4'] and kept() == ['iter_2']
    assert before == ['iter_2', 'iter_6'] and kept() == ['iter_6']
    hook.after_save_checkpoint(runner, tmp_path / 'best_mIoU_iter_6.pth')
    hook.after_train(runner)
    assert kept() == ['iter_6']


def test_a_place_of_the_batch_that_jumps_to_another_scene_is_refused() -> None:
    model = tiny().eval()

    def see(frame: int, scene: str) -> None:
        batch = [sample(0, frame)]
        batch[0].set_metainfo({'scene_token': scene})
        model(pictures(1, frame), batch, mode='predict')

    see(0, 'a')
    see(1, 'a')
    with pytest.raises(ValueError, match="place 0 of the batch jumps from scene 'a' to 'b'"):
        see(2, 'b')
    # one that starts there, and one after the memory was dropped
    see(0, 'b')
    model.reset_state()
    see(2, 'c')


def test_training_goes_on_exactly() -> None:
    """Weights, optimizer and memory of a checkpoint lead to the same bits."""

    def step(model: ALOcc, optimizer: torch.optim.Optimizer, frame: int) -> None:
        torch.manual_seed(frame)
        batch = [sample(slot, frame, labels=True) for slot in range(2)]
        optimizer.zero_grad()
        sum(model(pictures(2, frame), batch, mode='loss').values()).backward()
        optimizer.step()

    model = tiny(flow=True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    step(model, optimizer, 0)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), model.temporal_state()))
    step(model, optimizer, 1)
    other = tiny(flow=True).train()
    resumed = torch.optim.AdamW(other.parameters(), lr=1e-3)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    forgetful = copy.deepcopy(other)
    other.load_temporal_state(saved[2])
    step(other, resumed, 1)
    found, expected = other.state_dict(), model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    step(forgetful, torch.optim.AdamW(forgetful.parameters(), lr=1e-3), 1)
    name = 'voxel_encoder.layers.0.0.conv1.bn.running_mean'
    assert not torch.equal(forgetful.state_dict()[name], expected[name])


def test_schedule() -> None:
    model = tiny(flow=True)
    hook = ALOccScheduleHook(denoise=(0, 60), history_from=20, flow_truth=(20, 40))
    rates = []
    for iteration in (0, 20, 21, 30, 60, 90):
        hook.apply(model, iteration)
        head = model.head.flow_head
        rates.append((model.lift.denoise_rate, model.history.enabled, head.cost_volume_truth_rate))
    assert [enabled for _, enabled, _ in rates] == [False, False, True, True, True, True]
    assert [rate for rate, _, _ in rates] == pytest.approx([1, 0.75, 0.7270, 0.5, 0, 0], abs=1e-4)
    assert [rate for *_, rate in rates] == pytest.approx([1, 1, 0.9938, 0.5, 0, 0], abs=1e-4)
    hook.apply(model, 0)
    hook.before_val(SimpleNamespace(model=model))
    assert model.history.enabled
    assert half_cosine(5, 5, 5) == 1


def test_averaged_weights_begin_late() -> None:
    """The averages of the published configs, as MMEngine's hook builds and moves them."""
    config = Config.fromfile(ROOT / 'configs/_base_/runtime/alocc_3d.py')
    settings = next(hook for hook in config.custom_hooks if hook.type == 'EMAHook')
    source = torch.nn.BatchNorm1d(1)
    runner = SimpleNamespace(model=source, iter=0, _resume=False)
    with DefaultScope.overwrite_default_scope('mmvl'):
        hook = HOOKS.build(settings)
        hook.before_run(runner)
    source.running_mean += 1
    hook.after_train_iter(runner, 0)
    average = hook.ema_model
    # 1 - decay of the released hook at its 10,561st update
    share = 1 - 0.999 * (1 - math.exp(-10561 / 2000))
    assert float(average.module.running_mean) == pytest.approx(share, rel=1e-4)
    assert average.steps == 10561


def test_converter_refuses_what_is_not_of_alocc(tmp_path: Path) -> None:
    shared = {
        'depth_net.depth_conv.0.downsample.weight': torch.ones(1),
        'depth_net.occ_conv.0.downsample.weight': torch.ones(1),
        'view_transformer.dx': torch.ones(3),
    }
    assert list(convert_released(shared)) == ['depth_net.shortcut.weight']
    other = {**shared, 'depth_net.occ_conv.0.downsample.weight': torch.zeros(1)}
    with pytest.raises(ValueError, match='is not the same as'):
        convert_released(other)
    with pytest.raises(ValueError, match="'backbone.conv1' is no key"):
        convert_released({'backbone.conv1': torch.ones(1)})
    with pytest.raises(ValueError, match="begins with 'img_neck.'"):
        convert_start({'img_backbone.conv1.weight': torch.ones(1)})
    source, target = tmp_path / 'bevdet.pth', tmp_path / 'start.safetensors'
    bevdet = {
        'img_backbone.conv1.weight': torch.ones(1),
        'img_neck.fpn_convs.0.conv.weight': torch.ones(2),
        'pts_bbox_head.shared_conv.weight': torch.ones(3),
    }
    torch.save({'state_dict': bevdet, 'meta': {}}, source)
    main(['convert', 'bevdet', str(source), str(target)])
    found = load_checkpoint_file(target)['state_dict']
    assert set(found) == {'img_backbone.conv1.weight', 'img_neck.output_conv.weight'}
