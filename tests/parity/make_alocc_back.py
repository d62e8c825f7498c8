"""Make ``data/alocc_back.npz``: how the released ALOcc trains on ``alocc_back_case.py``.

    python tests/parity/make_alocc_back.py PATH_OF_AN_ALOCC_CHECKOUT

``alocc_official.py`` puts in place what the released code imports. One thing is changed: classes
are listed in ascending order, which the released code expects and has on a GPU only.
"""

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alocc_back_case import (
    ENABLED,
    FRAMES,
    HEADS,
    HISTORY_CHANNELS,
    HISTORY_FRAMES,
    LOWER,
    NUM_IMAGE_POINTS,
    NUM_POINTS,
    VOXEL,
    VOXEL_CONFIG,
    flips,
    head_frame,
    history_volume,
    pose,
    starts,
    weights,
)
from alocc_official import COMMIT, Official, import_official
from torch import Tensor, nn


def seed_weights(module: nn.Module, prefix: str = '') -> None:
    """Fill a module, as named in the whole model, from seeds."""
    shapes = {f'{prefix}{name}': tuple(v.shape) for name, v in module.state_dict().items()}
    module.load_state_dict({k.removeprefix(prefix): v for k, v in weights(shapes).items()})


def metas(frame: int) -> list[dict[str, Any]]:
    """What the released loader says about the two samples of a frame."""
    found = []
    for slot, begins in enumerate(starts(frame)):
        way = torch.linalg.inv(pose(slot, frame - 1)) @ pose(slot, frame)
        found.append(
            {
                'sequence_group_idx': slot + 10 * (slot == 1 and frame >= 2),
                'start_of_sequence': begins,
                'curr_to_prev_ego_rt': (torch.eye(4) if begins else way).float(),
                'index': frame,
            }
        )
    return found


def shifted(labels: Tensor) -> Tensor:
    """Labels as the released code counts them: from 1."""
    return torch.where(labels == 255, 255, labels + 1)


def numbers_of(losses: dict[str, Tensor], gradients: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Losses, and the length of each gradient."""
    found = {name: np.array(float(value.detach())) for name, value in losses.items()}
    return found | {
        f'gradient/{name}': np.array(float(value.double().norm()))
        for name, value in gradients.items()
    }


def train_head(head: nn.Module, kind: str) -> dict[str, np.ndarray]:
    """Losses of a head and gradients of its inputs and weights, frame by frame."""
    seed_weights(head, 'alocc_head.')
    head.num_points = head.ori_num_points = NUM_POINTS
    head.num_points_img = NUM_IMAGE_POINTS
    head.train()
    case, found = HEADS[kind], {}
    for frame in range(FRAMES):
        given = head_frame(kind, frame)
        volume = given['volume'].requires_grad_()
        context = given['context'].requires_grad_()
        more = {}
        if case.rates:
            head.flow_gt_denoise_rate = case.rates[frame]
            still = (given['labels'] >= 8)[..., None]
            more = {
                'gt_occupancy_ori': shifted(given['labels']),
                'gt_occ_flow': given['flow'].masked_fill(still, float('inf')),
            }
        torch.manual_seed(frame)
        losses = head.forward_train(
            [volume],
            img_metas=metas(frame),
            gt_labels=shifted(given['labels']),
            bda=torch.eye(3).repeat(2, 1, 1),
            **more,
        )[0]
        image = head.forward_train(
            [context],
            img_metas=metas(frame),
            gt_labels=shifted(given['cells']),
            mask_embede2=True,
            tag='img',
        )[0]
        losses |= {f'img_seg_{name}': value * 0.1 for name, value in image.items()}
        head.zero_grad()
        sum(losses.values()).backward()
        gradients = {
            'volume': volume.grad,
            'context': context.grad,
            **{name: value.grad for name, value in head.named_parameters()},
        }
        assert all(value is not None and value.norm() > 0 for value in gradients.values())
        print(kind, frame, {name: round(float(value), 4) for name, value in losses.items()})
        numbers = numbers_of(losses, gradients)
        found |= {f'{kind}/{frame}/{name}': value for name, value in numbers.items()}
    return found


def run_history(model: nn.Module) -> dict[str, np.ndarray]:
    """Fused volumes in training, while the past is not kept and after."""
    for name in ('history_keyframe_time_conv', 'history_keyframe_cat_conv'):
        seed_weights(getattr(model, name), f'{name}.')
    transformer = model.view_transformer
    transformer.dx = nn.Parameter(torch.full((3,), VOXEL), requires_grad=False)
    transformer.bx = nn.Parameter(torch.tensor(LOWER) + VOXEL / 2, requires_grad=False)
    model.train()
    found = {}
    for frame, enabled in enumerate(ENABLED):
        model.do_history = enabled
        with torch.no_grad():
            answer = model.fuse_history(history_volume(frame), metas(frame), flips(frame))
        fused = answer['fused_bev_feat']
        print('history', frame, enabled, float(fused.std()))
        found[f'history/{frame}'] = fused[..., ::3, ::2].numpy()
    return found


def predict(model: nn.Module, kind: str) -> dict[str, np.ndarray]:
    """Classes and flow in the order of the label files, of one sample."""
    head = model.alocc_head.eval()
    seed_weights(head, 'alocc_head.')
    head.history_bev = None
    volume = head_frame(kind, 0)['volume'][:1]
    model.extract_feat = lambda *args, **kwargs: {'img_bev_feat': [volume]}
    with torch.no_grad():
        answer = model.simple_test(None, metas(0)[:1], img=[None] * 6 + [torch.eye(3)[None]])[0]
    found = {f'{kind}/semantics': answer['pred_occupancy']}
    if answer['pred_flow'] is not None:
        found[f'{kind}/flow'] = answer['pred_flow']
    print(kind, {name: (value.shape, value.dtype) for name, value in found.items()})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkout', type=Path)
    official: Official = import_official(parser.parse_args().checkout)
    base = sys.modules['mmdet3d.models.alocc.heads.mask2former_utils.base.mmdet_utils']
    unique = torch.unique
    torch.unique = lambda values, sorted, **kwargs: unique(values, sorted=True, **kwargs)
    assert base.torch is torch
    golden: dict[str, np.ndarray] = {'commit': np.array(COMMIT)}
    for kind, case in HEADS.items():
        model = official.model(case.config)
        golden |= train_head(model.alocc_head, kind)
        golden |= predict(model, kind)
        weights = model.alocc_head.class_weight
        golden[f'{kind}/class_weights'] = np.array(weights)
        golden[f'{kind}/sample_weights'] = np.array(model.alocc_head.sample_weights)
    build = functools.partial(official.model, VOXEL_CONFIG, numC_Trans=HISTORY_CHANNELS)
    golden |= run_history(build(history_cat_num=HISTORY_FRAMES))
    target = Path(__file__).parent / 'data' / 'alocc_back.npz'
    np.savez_compressed(target, **golden)
    print(f'{target}: {target.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
