"""OccupancyInferencer with a model that counts the frames that it remembers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel

from mmvl.apis import OccupancyInferencer
from mmvl.cli.main import main
from mmvl.engine import save_safetensors
from mmvl.occupancy.datasets import OCC3D
from mmvl.occupancy.preprocessing import OccupancyPreprocessor
from mmvl.occupancy.toy import write_world
from mmvl.registry import MODELS

FRAMES = 3


class FrameCounter(BaseModel):
    """Fills the first n voxels with class n at the n-th frame of a sequence."""

    def __init__(self, flow: bool = False) -> None:
        super().__init__(OccupancyPreprocessor())
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.flow, self.frames = flow, -99

    def reset_state(self) -> None:
        self.frames = 0

    def forward(self, inputs: dict, data_samples: list, mode: str = 'tensor') -> Any:
        assert mode == 'predict' and inputs['images'].shape[:3] == (1, 6, 3)
        (sample,) = data_samples
        self.frames = 1 if sample.starts_sequence else self.frames + 1
        grid = torch.full((32, 32, 8), len(OCC3D) - 1, dtype=torch.uint8)
        grid.view(-1)[: self.frames] = self.frames
        sample.pred_semantics = grid
        if self.flow:
            sample.pred_flow = torch.full((32, 32, 8, 2), 0.5)
        return data_samples


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, 0, num_train=1, num_val=2, num_frames=FRAMES)
    return folder


@pytest.fixture
def config(world: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setitem(MODELS.module_dict, 'FrameCounter', FrameCounter)
    cfg = Config.fromfile(Path(__file__).parents[2] / 'configs/_base_/datasets/toy_occ.py')
    cfg.test_dataloader.dataset.data_root = f'{world}/'
    cfg.model = {'type': 'FrameCounter'}
    cfg.visualizer = {
        'type': 'OccupancyVisualizer', 'lower': cfg.lower, 'voxel_size': 0.8, 'height': 48,
    }  # fmt: skip
    return cfg


def test_a_sample_is_predicted_from_the_start_of_its_scene(config: Config, tmp_path: Path) -> None:
    inferencer = OccupancyInferencer(config, device='cpu')
    # the second frame of the second scene, and the first of the first
    infos = [inferencer.dataset.get_data_info(i) for i in range(2 * FRAMES)]
    tokens = [infos[FRAMES + 1]['sample_token'], infos[0]['sample_token']]
    found = inferencer(tokens, tmp_path)
    assert [each['sample_token'] for each in found] == tokens[::-1]
    assert [each['voxels'] for each in found] == [{OCC3D[1]: 1}, {OCC3D[2]: 2}]
    assert json.loads((tmp_path / 'predictions.json').read_text()) == found
    for each in found:
        assert all((tmp_path / f'{each["file"]}.{kind}').is_file() for kind in ('jpg', 'html'))
    with np.load(tmp_path / f'{found[1]["file"]}.npz') as arrays:
        assert list(arrays) == ['semantics'] and arrays['semantics'].ravel()[:3].tolist() == [
            2,
            2,
            17,
        ]


def test_scenes_flow_and_labels(config: Config, tmp_path: Path) -> None:
    config.model['flow'] = True
    inferencer = OccupancyInferencer(config, device='cpu', labels=True)
    scene = inferencer.dataset.get_data_info(0)['scene_name']
    found = inferencer(scene, tmp_path, viewer=False)
    assert [each['sample_index'] for each in found] == list(range(FRAMES))
    with np.load(tmp_path / f'{found[0]["file"]}.npz') as arrays:
        assert arrays['flow'].shape == (32, 32, 8, 2)
    assert not list(tmp_path.rglob('*.html')) and not list(tmp_path.rglob('*.tmp.*'))
    samples = list(inferencer.predict(None, show_progress=False))
    assert len(samples) == 2 * FRAMES and all('gt_semantics' in each for each in samples)


def test_labels_are_not_needed(config: Config, tmp_path: Path) -> None:
    config.test_dataloader.dataset.label_root = str(tmp_path / 'none')
    inferencer = OccupancyInferencer(config, device='cpu')
    token = inferencer.dataset.get_data_info(0)['sample_token']
    assert [each['file'] for each in inferencer(token)] == [None]


def test_unknown_names_are_answered(config: Config) -> None:
    inferencer = OccupancyInferencer(config, device='cpu')
    scene = inferencer.dataset.get_data_info(0)['scene_name']
    with pytest.raises(ValueError, match=f'no scene and no sample of .*\nWhat to do: .*{scene}'):
        inferencer(scene[:-1] + 'x')


def test_command_line(config: Config, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    file, weights, out = tmp_path / 'c.py', tmp_path / 'w.safetensors', tmp_path / 'out'
    config.dump(file)
    save_safetensors({'weight': torch.zeros(1)}, weights)
    command = ['infer', 'occupancy', 'all', '--config', str(file), '--weights', str(weights)]
    assert main([*command, '--out-dir', str(out), '--device', 'cpu']) == 0, capsys.readouterr().err
    assert len(json.loads((out / 'predictions.json').read_text())) == 2 * FRAMES
    assert main([*command, '--top-k', '3']) == 2
    assert "'--top-k' is an option of hoi" in capsys.readouterr().err
    assert main(['infer', 'hoi', 'x.jpg', '--weights', str(weights), '--labels']) == 2
    assert "'--labels' is an option of occupancy" in capsys.readouterr().err
