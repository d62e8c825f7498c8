"""Training targets and pixels against the official EoID code (see make_hico_targets.py)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.hoi import transforms
from mmvl.hoi.datasets import HICODet
from mmvl.hoi.targets import BuildPairTargets

GOLDEN = Path(__file__).parent / 'data' / 'hico_targets.npz'
SETTINGS = {
    'plain': ({'unseen': None, 'pairs': 'annotated'}, None),
    'ua_base': ({'pairs': 'annotated'}, 'ua'),
    'uc_base': ({'pairs': 'annotated', 'hide': 'combination'}, 'uc1'),
    'ua_v1': ({}, 'ua'),
    'ua_v2': ({'pairs': 'all'}, 'ua'),
    'uc0': ({'hide': 'combination', 'guard_seen': False}, 'uc0'),
    'uc3': ({'hide': 'combination', 'guard_seen': False}, 'uc3'),
    'nf_uc': ({'hide': 'combination', 'guard_seen': False}, 'non_rare_first'),
    'rare': ({'hide': 'combination', 'guard_seen': False}, 'rare_first'),
    'augmented': ({}, 'ua'),
}
FIELDS = {
    'sub_boxes': 'subject_boxes',
    'obj_boxes': 'object_boxes',
    'obj_labels': 'object_labels',
    'verb_labels': 'verb_labels',
    'st': 'potential',
    'union_boxes': 'union_boxes',
}


@pytest.fixture(scope='module')
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.fixture(scope='module')
def dataset(golden, tmp_path_factory):
    folder = tmp_path_factory.mktemp('hico')
    annotations = folder / 'annotations.json'
    annotations.write_bytes(golden['annotations'].tobytes())
    for i, size in enumerate(golden['image_sizes'].tolist()):
        Image.new('RGB', size).save(folder / f'image_{i:03d}.png')
    return HICODet(
        ann_file=str(annotations),
        data_prefix={'img': str(folder)},
        pipeline=[transforms.LoadHOIImage()],
    )


def build(setting, golden):
    kwargs, split = SETTINGS[setting]
    unseen = None if split is None else golden[f'unseen/{split}'].tolist()
    return BuildPairTargets(**{'unseen': unseen, **kwargs})


def targets(dataset, golden, setting):
    step = build(setting, golden)
    for sample in dataset:
        transforms.ClipBoxes()(sample)
        if setting == 'augmented':
            mirrored, *window, edge = golden['augmented/params'][sample['img_id']].tolist()
            if mirrored:
                transforms.flip(sample)
            transforms.crop(sample, *window)
            transforms.resize(
                sample, *transforms.shortest_edge_shape(sample['img'].shape[:2], edge, 100)
            )
        yield step(sample)['gt_pairs']


@pytest.mark.parametrize('setting', SETTINGS)
def test_pairs_equal_official(setting, dataset, golden):
    ours = list(targets(dataset, golden, setting))
    expected = {k.split('/')[1]: v for k, v in golden.items() if k.startswith(f'{setting}/')}
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == expected[
        'images'
    ].tolist()
    assert [len(pairs) for pairs in ours] == expected['counts'].tolist()
    for theirs, name in FIELDS.items():
        if theirs in expected:
            value = torch.cat([pairs[name] for pairs in ours]).numpy()
            np.testing.assert_array_equal(value, expected[theirs], err_msg=name)
    if 'is_mask' in expected:
        interactive = torch.cat([pairs.interactive for pairs in ours]).numpy()
        np.testing.assert_array_equal(interactive, expected['is_mask'] == 1)
        distillable = ours[0].metainfo['distillable_verbs']
        np.testing.assert_array_equal(distillable, expected['seen_mask'] == 1)


def test_golden_tells_the_modes_apart(dataset, golden):
    # The repaired UC targets must differ on this data, or the test above could not see the defect.
    kwargs = {'unseen': golden['unseen/uc0'].tolist(), 'hide': 'combination'}
    repaired = BuildPairTargets(**kwargs, guard_seen=True)
    potential = [
        repaired(transforms.ClipBoxes()(sample))['gt_pairs'].potential for sample in dataset
    ]
    assert int((~torch.cat(potential)).sum()) > int((golden['uc0/st'] == 0).sum())


def test_pixels_equal_official(golden):
    sample = {'img': golden['pixels/image']}
    transforms.flip(sample)
    np.testing.assert_array_equal(sample['img'], golden['pixels/flip'])
    sample = {'img': golden['pixels/image']}
    transforms.crop(sample, 5, 11, 40, 52)
    np.testing.assert_array_equal(sample['img'], golden['pixels/crop'])


@pytest.mark.parametrize(('edge', 'limit'), [(30, None), (97, 110), (61, 1333)])
def test_resized_pixels_equal_official(edge, limit, golden):
    sample = {'img': golden['pixels/image']}
    transforms.ResizeShortestEdge([edge], limit)(sample)
    expected = golden[f'pixels/resize_{edge}_{limit or 0}']
    np.testing.assert_array_equal(sample['img'], expected)


@pytest.mark.parametrize('seed', range(3))
def test_jittered_pixels_equal_official(seed, golden):
    order = [i for i in golden[f'pixels/jitter_{seed}_order'].tolist() if i < 3]
    factors = golden[f'pixels/jitter_{seed}_factors'].tolist()
    jittered = transforms.adjust_colors(golden['pixels/image'], factors, order)
    np.testing.assert_array_equal(jittered, golden[f'pixels/jitter_{seed}'])


def test_resized_shapes_equal_official(golden):
    ours = [
        transforms.shortest_edge_shape((h, w), edge, limit)
        for w, h, edge, limit in golden['sizes/in'].tolist()
    ]
    assert ours == [tuple(row) for row in golden['sizes/out'].tolist()]
