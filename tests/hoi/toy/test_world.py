"""The toy world: its bytes, its files and its held-out lists."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmvl.hoi.toy import TOY_HOIS, TOY_UA, TOY_UC, write_world
from mmvl.hoi.toy.world import draw_scene, scenes
from mmvl.hoi.vocabulary import COCO_IDS, HOI_OBJECT, HOI_VERB, OBJECTS, VALID, VERBS

NO_INTERACTION = VERBS.index('no_interaction')


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=3, num_train=60, num_test=50)
    return folder


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def entries(folder: Path, name: str) -> list[dict]:
    return json.loads((folder / 'annotations' / f'{name}_hico.json').read_text())


def test_same_seed_same_bytes(world: Path, tmp_path: Path) -> None:
    write_world(tmp_path / 'again', seed=3, num_train=60, num_test=50)
    write_world(tmp_path / 'other', seed=4, num_train=60, num_test=50)
    assert digests(tmp_path / 'again') == digests(world)
    jpegs = {name: d for name, d in digests(world).items() if name.endswith('.jpg')}
    assert len(jpegs) == len(set(jpegs.values())) == 110
    assert not set(jpegs.values()) & set(digests(tmp_path / 'other').values())


def test_a_scene_does_not_depend_on_the_number_of_scenes() -> None:
    short, long = list(scenes(3, seed=1, stream=0)), list(scenes(9, seed=1, stream=0))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(short, long, strict=False))


@pytest.mark.parametrize(('name', 'part', 'num'), [('trainval', 'train', 60), ('test', 'test', 50)])
def test_files_are_hico_det_s(world: Path, name: str, part: str, num: int) -> None:
    listed = entries(world, name)
    assert [e['file_name'] for e in listed] == [
        f'HICO_{part}2015_{i:08d}.jpg' for i in range(1, num + 1)
    ]
    for entry in listed:
        image = cv2.imread(str(world / 'images' / f'{part}2015' / entry['file_name']))
        height, width, _ = image.shape
        boxes = np.array([a['bbox'] for a in entry['annotations']])
        assert (boxes >= 0).all() and (boxes <= (width, height, width, height)).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 5).all()
        categories = [a['category_id'] for a in entry['annotations']]
        for hoi in entry['hoi_annotation']:
            assert categories[hoi['subject_id']] == 1
            index = hoi['hoi_category_id'] - 1
            assert index in TOY_HOIS
            assert HOI_VERB[index] == hoi['category_id'] - 1
            assert COCO_IDS[HOI_OBJECT[index]] == categories[hoi['object_id']]
    matrix = np.load(world / 'annotations' / 'corre_hico.npy', allow_pickle=False)
    assert np.array_equal(matrix == 1, VALID)


def test_boxes_hold_what_is_drawn() -> None:
    """A suitcase is the only purple thing, and its box is tight around the purple."""
    pair = VERBS.index('no_interaction'), OBJECTS.index('suitcase')
    drawings = [draw_scene(pair, np.random.default_rng(seed)) for seed in range(8)]
    alone = [scene for scene in drawings if (scene.labels == pair[1]).sum() == 1]
    assert len(alone) >= 4
    for scene in alone:
        red, green, blue = np.moveaxis(scene.image.astype(int), -1, 0)
        rows, columns = np.nonzero((red - green > 35) & (blue - green > 60))
        drawn = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        box = scene.boxes[scene.labels == pair[1]][0]
        assert np.abs(box - drawn).max() <= 3


def test_every_person_and_object_is_paired() -> None:
    for scene in scenes(40, seed=0, stream=0):
        people, things = (scene.labels == 0).sum(), (scene.labels != 0).sum()
        assert len(scene.hois) == people * things > 0
        assert len({tuple(pair) for pair in scene.hois[:, :2]}) == len(scene.hois)


def test_objects_do_not_give_the_verb_away() -> None:
    verbs, objects = HOI_VERB[list(TOY_HOIS)], HOI_OBJECT[list(TOY_HOIS)]
    assert len(TOY_HOIS) == 47
    assert all((objects == o).sum() >= 3 for o in np.unique(objects))
    assert VALID[verbs, objects].all()


def test_held_out_combinations_are_seen_in_parts() -> None:
    seen = sorted(set(TOY_HOIS) - set(TOY_UC))
    assert set(TOY_UC) < set(TOY_HOIS) and len(TOY_UC) == 18
    assert set(HOI_VERB[list(TOY_UC)]) <= set(HOI_VERB[seen])
    assert set(HOI_OBJECT[list(TOY_UC)]) <= set(HOI_OBJECT[seen])
    assert NO_INTERACTION not in HOI_VERB[list(TOY_UC)]


def test_held_out_verbs_are_held_out_everywhere() -> None:
    verbs = {VERBS.index('ride'), VERBS.index('hug')}
    assert set(TOY_UA) == {h for h in TOY_HOIS if HOI_VERB[h] in verbs}
    assert set(HOI_OBJECT[list(TOY_UA)]) <= set(HOI_OBJECT[sorted(set(TOY_HOIS) - set(TOY_UA))])


def test_every_interaction_occurs_in_both_parts(world: Path) -> None:
    for name in ('trainval', 'test'):
        listed = {
            h['hoi_category_id'] - 1 for e in entries(world, name) for h in e['hoi_annotation']
        }
        assert listed == set(TOY_HOIS)
