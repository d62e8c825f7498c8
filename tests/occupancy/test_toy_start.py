"""What toy runs start from: its targets, its file, and that it learns."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import load_file

from mmvl.occupancy.datasets.classes import OCC3D
from mmvl.occupancy.toy import train_start, write_world
from mmvl.occupancy.toy.start import IMAGE_SIDE, SIZE, read_frames
from mmvl.registry import MODELS

CONFIG = Path(__file__).parents[2] / 'configs/alocc/toy.py'


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=6, num_train=1, num_val=1, num_frames=4)
    return folder


def test_frames_say_what_cells_show(world):
    frames = read_frames(world, MODELS.build(IMAGE_SIDE['depth_net']))
    assert frames.images.shape == (4, 6, 3, *SIZE)
    assert frames.bins.shape == frames.classes.shape == (4, 6, 4, 11)
    # The lowest row of the front camera is road. It looks down from 1.6 m by 39.5 pixels at a focal
    # length of 125.7: 5.1 m, which is bin 8 of those of half a metre from 1 m on.
    road = OCC3D.index('driveable_surface')
    assert (frames.classes[0, 1, -1, 4:7] == road).all()
    assert set(frames.bins[0, 1, -1, 4:7].tolist()) <= {8, 9}
    # nothing has a depth and no class
    torch.testing.assert_close(frames.bins >= 0, frames.classes < len(OCC3D))
    some = frames.batch(torch.tensor([3, 1]))
    assert torch.equal(some.images[1], frames.images[1])
    assert torch.equal(some.cameras.vector(), frames.cameras.vector()[[3, 1]])


def test_it_learns_and_is_repeatable(world, tmp_path):
    untrained = train_start(world, tmp_path / 'a.safetensors', iterations=1)
    near = train_start(world, tmp_path / 'b.safetensors', iterations=20)
    assert untrained < 0.2 < near
    train_start(world, tmp_path / 'c.safetensors', iterations=1)
    assert (tmp_path / 'a.safetensors').read_bytes() == (tmp_path / 'c.safetensors').read_bytes()


def test_the_toy_config_takes_it(world, tmp_path):
    train_start(world, tmp_path / 'start.safetensors', iterations=1)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    missing, unexpected = model.load_state_dict(load_file(tmp_path / 'start.safetensors'), False)
    assert not unexpected
    parts = {name.split('.')[0] for name in missing}
    assert parts == {'depth_net', 'history', 'voxel_encoder', 'voxel_neck', 'head'}
    lifting = [name.split('.')[1] for name in missing if name.startswith('depth_net')]
    assert set(lifting) == {'occupancy_conv', 'neighbour_weights', 'neighbour_offsets'}
