"""The toy teacher: a micro run learns, repeats bit for bit, and loads as any CLIP does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmvl.hoi.toy import TOY_HOIS, train_teacher, verb_accuracy, write_world
from mmvl.hoi.toy.teacher import MODEL, caption_corpus
from mmvl.language import CLIP, read_weights
from mmvl.registry import MODELS


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=0, num_train=1, num_test=47)
    return folder


def test_captions_cover_everything_and_are_not_test_pictures() -> None:
    preprocess = CLIP.from_config(MODEL).preprocess
    crops, hois = caption_corpus(47, 0, preprocess)
    assert crops.shape == (len(hois), 3, 64, 64)
    assert set(hois.tolist()) == set(TOY_HOIS)
    assert not np.array_equal(caption_corpus(47, 1, preprocess)[0][:40], crops[:40])


def test_micro_run_learns_and_loads(world: Path, tmp_path: Path) -> None:
    path = tmp_path / 'clip.safetensors'
    report = train_teacher(world, path, seed=0, iterations=24, num_scenes=94)
    assert report['loss_last'] < report['loss_first'] - 1.0
    model = str(path.with_suffix('.json'))
    clip = MODELS.build({'type': 'CLIP', 'weights': str(path), 'model': model})
    measured = verb_accuracy(clip, world)
    assert measured == {name: report[name] for name in measured}
    assert set(measured) == {'all', 'toy_uc', 'toy_ua'}


def test_training_repeats_and_leaves_the_generator_alone(world: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    for name in ('a', 'b'):
        train_teacher(world, tmp_path / f'{name}.safetensors', iterations=2, num_scenes=47)
    assert torch.equal(torch.get_rng_state(), before)
    first, second = (read_weights(tmp_path / f'{name}.safetensors')[0] for name in 'ab')
    assert all(torch.equal(first[key], second[key]) for key in first)
