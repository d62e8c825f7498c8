"""What toy runs start from: its targets, its file, and that it learns."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import load_file

from mmvl.grounding.toy import train_start, write_world
from mmvl.grounding.toy.start import read_scenes
from mmvl.registry import MODELS


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('world')
    write_world(folder, num_train=48, num_test=1)
    return folder


@pytest.fixture
def one_thing(tmp_path):
    """A large yellow circle at x 16 to 32 and y 8 to 24."""
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (64, 64), (9, 99, 199)).save(tmp_path / 'images/toy_train_000001.jpg')
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[16, 8, 16, 16], iscrowd=0)
    content = {
        'images': [dict(id=1, file_name='toy_train_000001.jpg', height=64, width=64)],
        'annotations': [{**annotation, 'colour': 'yellow', 'size': 'large'}],
        'categories': [dict(id=1, name='circle')],
    }
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    return tmp_path


def test_tokens_on_the_thing_are_labelled(one_thing):
    """Centres lie at 4, 12, 20, ...: four are in the box, no other within 2 pixels of it."""
    scenes = read_scenes(one_thing)
    middle = scenes.images[0, :, 30, 30].tolist()
    assert middle == pytest.approx([9, 99, 199], abs=3)
    shape, colour, size = scenes.labels[0]
    assert shape.nonzero().tolist() == [[1, 2], [1, 3], [2, 2], [2, 3]]
    # circle is the first shape, yellow the fourth colour, large the second size
    assert [each[1, 2].item() for each in (shape, colour, size)] == [1, 4, 2]
    assert scenes.boxes[0, 2, 3].tolist() == [0.25, 0.125, 0.5, 0.375]


def test_mirrored(one_thing):
    scenes = read_scenes(one_thing).batch(torch.tensor([0]), mirror=True)
    assert scenes.labels[0, 0].nonzero().tolist() == [[1, 4], [1, 5], [2, 4], [2, 5]]
    assert scenes.boxes[0, 1, 4].tolist() == [0.5, 0.125, 0.75, 0.375]


def test_it_learns_and_is_repeatable(world, tmp_path):
    untrained = train_start(world, tmp_path / 'a.safetensors', iterations=1)
    right = train_start(world, tmp_path / 'b.safetensors', iterations=60)
    assert untrained < 0.3 < right
    train_start(world, tmp_path / 'c.safetensors', iterations=1)
    assert (tmp_path / 'a.safetensors').read_bytes() == (tmp_path / 'c.safetensors').read_bytes()


def test_the_toy_config_takes_it(world, tmp_path):
    train_start(world, tmp_path / 'start.safetensors', iterations=1)
    config = Config.fromfile(Path(__file__).parents[2] / 'configs/vg_law/toy.py')
    config.model.text_encoder.vocab = str(world / 'vocab.txt')
    model = MODELS.build(config.model)
    missing, unexpected = model.load_state_dict(load_file(tmp_path / 'start.safetensors'), False)
    assert not unexpected
    parts = {name.split('.')[0] for name in missing}
    assert parts == {'text_encoder', 'weight_generator', 'mask_head', 'box_head'}
    assert not [name for name in missing if name.startswith('box_head.mlp')]
