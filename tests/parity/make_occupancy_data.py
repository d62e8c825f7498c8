"""Make the golden values of occupancy's metrics and data from the released code of ALOcc.

    python tests/parity/make_occupancy_data.py ALOCC CASTER.py

The first argument is a checkout of cdb342/ALOcc on GitHub, the second a module that offers its
CUDA function ``render_forward`` on the CPU. Nothing of both is stored but the numbers.
"""

import importlib.util
import subprocess
import sys
import types
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).parent


def main(checkout: str, caster: str) -> None:
    """Compute and write ``data/occupancy_data.npz``."""
    sys.path[:0] = [str(HERE)]
    load = Loader(Path(checkout) / 'mmdet3d/datasets')
    torch.Tensor.cuda = lambda self, *_: self  # type: ignore[assignment, method-assign]
    commit = subprocess.run(
        ['git', '-C', checkout, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True
    ).stdout.strip()
    np.savez_compressed(
        HERE / 'data/occupancy_data.npz',
        **rays(load('ray_metrics.py'), load(Path(caster).resolve())),
        **voxels(load('occ_metrics.py')),
        **origins(load('ego_pose_dataset.py')),
        **views(load('pipelines/loading.py')),
        **labels(load('pipelines/loading.py')),
        **depth(load('pipelines/loading.py')),
        commit=commit,
    )


class Loader:
    """Modules of the checkout by themselves; what they import and is not there is a mock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        decorator = MagicMock()
        decorator.register_module.return_value = lambda cls: cls
        self.registry = decorator
        for name in ('mmcv', 'mmdet3d', 'mmdet', 'mmcv.image', 'sklearn', 'prettytable'):
            self.mock(name)

    def mock(self, name: str) -> None:
        """Put a mock in the place of a package and everything in it."""
        sys.meta_path.insert(0, Mocks(name, self.registry))

    def __call__(self, path: str | Path) -> Any:
        file = self.root / path
        # deep enough for relative imports, which find mocks
        name = f'released.one.two.{file.stem}'
        for parent in ('released', 'released.one', 'released.one.two'):
            package = types.ModuleType(parent)
            package.__path__ = []  # type: ignore[attr-defined]
            sys.modules.setdefault(parent, package)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module


class Mocks:
    """An importer that answers a package and its modules with mocks."""

    def __init__(self, name: str, registry: Any) -> None:
        self.name, self.registry = name, registry

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Claim the package, and relative imports of the checkout."""
        if name.split('.')[0] == self.name or name.startswith('released.'):
            return importlib.util.spec_from_loader(name, self)  # type: ignore[arg-type]
        return None

    def create_module(self, spec: Any) -> Any:
        """Make a module whose every name is a mock; registries register nothing."""
        module = MagicMock(name=spec.name)
        module.__path__ = []
        module.__spec__ = spec
        for name in ('PIPELINES', 'DATASETS'):
            setattr(module, name, self.registry)
        for name in ('BaseDataset', 'LoadAnnotations', 'LoadImageFromFile'):
            setattr(module, name, type(name, (), {}))
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing to execute."""


def rays(metrics: Any, dvr: Any) -> dict[str, np.ndarray]:
    """Hits of the first sample, and IoU and errors of flow over all samples."""
    from occupancy_case import NUM_RAYS, ray_sample

    directions = metrics.generate_lidar_rays()
    ways = torch.from_numpy(directions)
    preds, truths, samples = [], [], [ray_sample(seed) for seed in range(NUM_RAYS)]
    for sample in samples:
        places = torch.from_numpy(sample['origins'])[None]
        for side, found in (('pred', preds), ('gt', truths)):
            grid = sample['pred' if side == 'pred' else 'labels']
            flow = sample[f'{side}_flow']
            found.append(metrics.process_one_sample(grid, ways, places, flow, dvr))
    kept = [truth[:, 0].astype(np.int32) != 16 for truth in truths]
    inside = [
        [each[mask] for each, mask in zip(side, kept, strict=True)] for side in (preds, truths)
    ]
    iou, matched, on_rays = metrics.calc_metrics(*inside)
    voxels = metrics.calc_whole_flow(
        *([sample[key] for sample in samples] for key in ('labels', 'pred_flow', 'gt_flow'))
    )
    return {
        'directions': directions,
        'hit_label': preds[0][:, 0].astype(np.uint8),
        'hit_distance': preds[0][:, 1],
        'hit_sums': np.array([each[:, :2].astype(np.float64).sum(0) for each in preds + truths]),
        'ray_iou': np.array(iou),
        'ave_matched': matched,
        'ave_truth': on_rays,
        'ave_voxels': voxels,
    }


def voxels(metrics: Any) -> dict[str, np.ndarray]:
    """Confusion of all samples, with the camera mask and without."""
    from occupancy_case import NUM_VOXELS, voxel_sample

    found = {}
    for masked in (True, False):
        metric = metrics.Metric_mIoU(num_classes=18, use_image_mask=True)
        for seed in range(NUM_VOXELS):
            pred, truth, mask = voxel_sample(seed)
            mask = mask if masked else np.ones_like(mask)
            metric.add_batch(pred[mask], truth, mask, mask)
        name = 'masked' if masked else 'unmasked'
        values = metric.count_miou()
        found[f'voxels_{name}'] = metric.hist
        found[f'binary_{name}'] = metric.hist_occ
        found[f'summary_{name}'] = np.array([values[k] for k in ('Overall', 'mIoU_D', 'occupied')])
    return found


def origins(poses: Any) -> dict[str, np.ndarray]:
    """Ray origins of every frame of a drive."""
    from occupancy_case import NUM_FRAMES, drive

    dataset = poses.EgoPoseDatasetOcc3D(drive())
    return {f'origins_{number}': dataset[number][1].numpy() for number in range(NUM_FRAMES)}


def views(loading: Any) -> dict[str, np.ndarray]:
    """Images and matrices of several augmentations."""
    from occupancy_case import NUM_VIEWS, photograph, view

    pipeline = loading.PrepareImageInputs(data_config={}, is_train=True)
    images, rotations, translations = [], [], []
    for seed in range(NUM_VIEWS):
        image = Image.fromarray(photograph(seed))
        result = pipeline.img_transform(image, torch.eye(2), torch.zeros(2), **view(seed))
        images.append(np.array(result[0]))
        rotations.append(result[1].numpy())
        translations.append(result[2].numpy())
    config = {'input_size': (256, 704), 'crop_h': (0.0, 0.0)}
    test = loading.PrepareImageInputs(data_config=config).sample_augmentation(900, 1600)
    return {
        'view_images': np.array(images),
        'view_rotations': np.array(rotations),
        'view_translations': np.array(translations),
        'view_test': np.array([test[0], *test[1], *test[2]]),
    }


def labels(loading: Any) -> dict[str, np.ndarray]:
    """Labels, flow and matrix of the key ego frame for the four flips, in the order Y, X, Z."""
    import tempfile

    from occupancy_case import SMALL, street

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'openocc_v2/scene/token/labels.npz'
        path.parent.mkdir(parents=True)
        rng = np.random.default_rng(0)
        flow = rng.normal(0, 3, (*SMALL, 2)).astype(np.float32)
        np.savez(path, semantics=street(0, 17, SMALL), flow=flow)
        reader = loading.LoadOccFlowGTFromFile(str(path.parents[2]), fix_void=False)
        bev = loading.LoadAnnotationsBEVDepth({}, ())
        for x in (False, True):
            for y in (False, True):
                info = {'scene_name': 'scene', 'token': 'token'}
                sample = {'curr': info, 'rotate_bda': 0, 'flip_dx': x, 'flip_dy': y}
                result = reader(sample)
                name = f'{int(x)}{int(y)}'
                found[f'labels_{name}'] = result['gt_occupancy'].numpy()
                found[f'flow_{name}'] = result['gt_occ_flow'].numpy()
                found[f'bev_{name}'] = bev.bev_transform(0.0, 1.0, x, y).numpy()
    return found


def depth(loading: Any) -> dict[str, np.ndarray]:
    """Depth and classes of two cameras; of points too close to each other any may win."""
    from occupancy_case import camera, cloud, drive, view

    points, classes = cloud(0)
    info = {**drive()[1], 'cams': {f'C{i}': camera(i) for i in range(2)}}
    ego = np.eye(4, dtype=np.float32)
    ego[:3, :3] = loading.Quaternion(info['lidar2ego_rotation']).rotation_matrix
    ego[:3, 3] = info['lidar2ego_translation']
    tensor = torch.from_numpy(points.copy())
    ego = torch.from_numpy(ego)
    tensor[:, :3] = tensor[:, :3].matmul(ego[:3, :3].T) + ego[:3, 3]
    pipeline = loading.PrepareImageInputs(data_config={}, is_train=True)
    matrices = []
    for seed in (3, 4):
        image = Image.new('RGB', (160, 90))
        matrices.append(
            pipeline.img_transform(image, torch.eye(2), torch.zeros(2), **view(seed))[1:]
        )
    rotations, translations = torch.eye(3).repeat(2, 1, 1), torch.zeros(2, 3)
    for number, (rotation, translation) in enumerate(matrices):
        rotations[number, :2, :2], translations[number, :2] = rotation, translation
    intrinsics = torch.tensor([info['cams'][f'C{i}']['cam_intrinsic'] for i in range(2)])
    images = torch.zeros(2, 3, 32, 64)
    sample = {
        'points': types.SimpleNamespace(tensor=tensor),
        'points_semantics': classes,
        'cam_names': ['C0', 'C1'],
        'curr': info,
        'img_inputs': (images, None, None, intrinsics, rotations, translations, None),
    }
    made = loading.PointToMultiViewDepth({'depth': [1.0, 45.0, 0.5]}, load_semantic_map=True)(
        sample
    )
    return {
        'depth': made['gt_depth'].numpy(),
        'depth_classes': made['gt_semantic_map'].numpy(),
    }


if __name__ == '__main__':
    main(*sys.argv[1:])
