"""Make ``data/alocc.npz``: what the released ALOcc answers to ``alocc_case.py``.

    python tests/parity/make_alocc.py PATH_OF_AN_ALOCC_CHECKOUT

``alocc_official.py`` puts in place what the released code imports.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alocc_case import (
    DENOISE_RATE,
    FRAMES,
    IMAGE_SIZE,
    SLOTS,
    STAGES,
    VARIANTS,
    Variant,
    alocc_weights,
    calibration,
    depth_map,
    images,
    starts,
    thinned,
)
from alocc_official import COMMIT, Official, import_official
from torch import Tensor, nn


def seed_weights(model: nn.Module) -> dict[str, list[int]]:
    """Fill the model from seeds and return the shapes of everything it would save."""
    grid = ('view_transformer.dx', 'view_transformer.bx', 'view_transformer.nx')
    saved = {name: value for name, value in model.state_dict().items() if name not in grid}
    shapes = {name: list(value.shape) for name, value in saved.items()}
    missing, unexpected = model.load_state_dict(alocc_weights(shapes), strict=False)
    assert set(missing) == set(grid) and not unexpected
    return shapes


def stacked(frame: int) -> dict[str, Tensor]:
    """Calibration of both sequences, (B, ...) float32."""
    moments = [calibration(slot, frame) for slot in range(SLOTS)]
    return {name: torch.stack([m[name] for m in moments]) for name in moments[0]}


def released_inputs(
    frame: int, stereo: bool
) -> tuple[list[Tensor], list[dict[str, Any]], dict[str, Any]]:
    """The frame as the released loader gives it: images and calibration, metas, further poses."""
    now, before = stacked(frame), stacked(frame - 1)
    pictures = torch.stack([images(slot, frame) for slot in range(SLOTS)])
    if stereo:
        past = torch.stack([images(slot, frame - 1) for slot in range(SLOTS)])
        pictures = torch.stack([pictures, past], 2).flatten(1, 2)
    key = now['key_ego2global'][:, None].inverse() @ now['ego2global'] @ now['sensor2ego']
    calibrated = (
        *(key[..., :3, :3], key[..., :3, 3], now['intrinsics']),
        *(now['image_rotation'], now['image_translation'], now['bev_rotation']),
    )
    way = before['lidar_ego2global'].inverse() @ now['lidar_ego2global']
    metas = [
        {
            'sequence_group_idx': slot + 10 * (frame == 2),
            'start_of_sequence': begins,
            'curr_to_prev_ego_rt': (torch.eye(4) if begins else way[slot]).float(),
        }
        for slot, begins in enumerate(starts(frame))
    ]
    # a sequence that goes on keeps its number
    metas[0]['sequence_group_idx'] = 0
    poses = {
        'aux_cam_params': [(now['sensor2ego'], now['ego2global'])],
        'adj_aux_cam_params': [(now['previous_sensor2ego'], now['previous_ego2global'])],
    }
    return [pictures, *(each.float() for each in calibrated)], metas, poses


def run_frame(model: nn.Module, frame: int, variant: Variant) -> dict[str, Tensor]:
    """What every stage of the released model answers, under the names of ``STAGES``."""
    inputs, metas, poses = released_inputs(frame, variant.stereo)
    found: dict[str, Tensor] = {}
    fuse = model.fuse_history

    def keep_history(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
        answer = fuse(*args, **kwargs)
        found['history'] = answer['fused_bev_feat']
        return answer

    handle = model.view_transformer.register_forward_hook(
        lambda module, args, output: found.update(lift=output)
    )
    depth = model.depth_net.register_forward_hook(
        lambda module, args, output: found.update(
            context=output['context'], depth=output['depth_pred'], occupancy=output['geometry']
        )
    )
    model.fuse_history = keep_history
    with torch.no_grad():
        results = model.extract_feat(None, img=inputs, img_metas=metas, **poses)
        answer = model.alocc_head.simple_test(
            results['img_bev_feat'], img_metas=metas, class_prototype=None, bda=inputs[6]
        )
    del model.fuse_history
    handle.remove()
    depth.remove()
    found['volume'] = results['img_bev_feat'][0]
    found['mask_logits'] = answer['output_voxels'][0]
    if 'output_flow' in answer:
        found['flow'] = answer['output_flow'][0]
    return {name: found[name].clone() for name in STAGES if name in found}


def run_training(model: nn.Module) -> dict[str, Tensor]:
    """What the depth net makes of LiDAR depth, with norms and dropout as in evaluation."""
    net = model.depth_net
    depth = torch.stack([depth_map(slot) for slot in range(SLOTS)])
    outputs: dict[str, Tensor] = {}
    handle = net.register_forward_hook(lambda module, args, output: outputs.update(output))
    inputs, metas, poses = released_inputs(0, stereo=True)
    net.training, net.geometry_denoise_rate = True, DENOISE_RATE
    with torch.no_grad():
        # the detector looks at its own mode, so that poses are those of evaluation
        model.extract_feat(None, img=inputs, img_metas=metas, gt_depth=depth, **poses)
        loss = net.get_depth_loss_(depth, outputs['depth_pred'])
    net.training = False
    handle.remove()
    return {
        'depth_bins': net.get_downsampled_gt_depth_(depth),
        'denoised': outputs['geometry'],
        'loss_depth': loss['loss_depth'],
    }


def check_lively(stages: dict[str, Tensor], label: str) -> None:
    """Refuse answers on which a comparison would prove nothing."""
    for name, values in stages.items():
        print(f'{label}/{name:12} {tuple(values.shape)} sd {values.std():.4f}')
        assert values.isfinite().all() and values.std() > 1e-3, name
    labels = stages['mask_logits'].argmax(1).unique()
    assert len(labels) > 3, labels


def run_variant(official: Official, name: str) -> dict[str, np.ndarray]:
    """The thinned answers of a variant, and its shapes as JSON."""
    variant = VARIANTS[name]
    model = official.model(
        variant.config, grid_config=variant.grid, data_config={'input_size': IMAGE_SIZE}
    )
    shapes = seed_weights(model)
    kept: dict[str, np.ndarray] = {f'{name}/shapes': np.array(json.dumps(shapes))}
    frames = [run_frame(model, frame, variant) for frame in range(FRAMES)]
    for frame, stages in enumerate(frames):
        check_lively(stages, f'{name}/{frame}')
        for stage, values in stages.items():
            label = f'{name}/{frame}/{stage}'
            kept[label] = thinned(label, values).numpy()
            kept[f'{label}/shape'] = np.array(values.shape)
    if name == '3d':
        training = run_training(model)
        training['denoised'] = thinned('denoised', training['denoised'])
        kept |= {f'{name}/{key}': value.numpy() for key, value in training.items()}
    # what came before must count
    change = (frames[1]['history'] - frames[0]['history']).abs().mean()
    assert change > 1e-2, change
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkout', type=Path)
    official = import_official(parser.parse_args().checkout)
    golden = {'commit': np.array(COMMIT)}
    for name in VARIANTS:
        golden |= run_variant(official, name)
    target = Path(__file__).parent / 'data' / 'alocc.npz'
    np.savez_compressed(target, **golden)
    print(f'{target}: {target.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
    main()
