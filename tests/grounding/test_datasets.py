"""Referring expressions: three routes, one result."""

from collections import Counter

import numpy as np
import pytest

from mmvl.grounding.datasets import (
    AnnotationError,
    GroundingIndex,
    MDETRRefCOCO,
    RefCOCO,
)
from mmvl.structures.masks import decode_segmentation


def test_sample_before_the_pipeline(forms, tmp_path):
    dataset = RefCOCO(split='train', data_root=forms.write_refer(tmp_path))
    assert len(dataset) == 3
    sample = dataset[2]
    assert sample.pop('rng').random() == np.random.default_rng((0, 0, 2)).random()
    box = sample.pop('box')
    assert box.dtype == np.float32
    assert box.tolist() == [50.5, 20.25, 81.0, 60.5]
    assert sample == {
        'img_path': str(tmp_path / 'images/mscoco/images/train2014' / forms.NAMES[11]),
        'file_name': forms.NAMES[11],
        'img_id': 11,
        'ref_id': 2,
        'sent_id': 1002,
        'ann_id': 102,
        'text': 'right man',
        'dataset': 'refcoco',
        'split': 'train',
        'segmentation': forms.MASK,
        'sample_idx': 2,
    }


@pytest.mark.parametrize(('split', 'count'), [('train', 3), ('val', 1), ('testA', 4), ('testB', 2)])
@pytest.mark.parametrize('test_mode', [False, True])
def test_three_routes_give_the_same(forms, tmp_path, split, count, test_mode):
    forms.write_refer(tmp_path)
    forms.write_mdetr(tmp_path, split)
    forms.write_index(tmp_path, forms.index(split), split=split)
    common = {'split': split, 'data_root': str(tmp_path), 'test_mode': test_mode}
    routes = [
        RefCOCO(**common),
        MDETRRefCOCO(**common),
        GroundingIndex(name='unc', cast_int=False, **common),
    ]
    expected = Counter()
    for ann_id, text in forms.sentences_of(split):
        image_id, (x, y, w, h) = forms.BOXES[ann_id]
        expected[forms.NAMES[image_id], text, x, y, x + w, y + h] += 1
    assert expected.total() == count
    for route in routes:
        assert forms.triples(route) == expected
        assert {(s['dataset'], s['split']) for s in forms.samples(route)} == {('refcoco', split)}
    ids = [[(s['img_id'], s['ann_id']) for s in forms.samples(route)] for route in routes[:2]]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ('split', 'of'),
    [
        ('testA', ['testA', 'testAB']),
        ('testB', ['testB', 'testAB', 'testBC']),
        ('testC', ['testBC']),
        ('testAB', ['testAB']),
        ('test', ['testA', 'testB', 'testAB', 'testBC']),
        ('val', ['val']),
    ],
)
def test_split_rule(forms, tmp_path, split, of):
    refs = forms.references()
    refs[0]['split'] = 'testBC'
    dataset = RefCOCO(split=split, data_root=forms.write_refer(tmp_path, refs))
    chosen = {sample['ref_id'] for sample in forms.samples(dataset)}
    assert chosen == {ref['ref_id'] for ref in refs if ref['split'] in of}
    assert {sample['split'] for sample in forms.samples(dataset)} == {split}


def test_layouts_of_image_folders(forms, tmp_path):
    forms.write_refer(tmp_path)
    forms.write_refer(tmp_path, name='refclef', split_by='berkeley')
    forms.write_refer(tmp_path, name='refcocog', split_by='umd')
    root = str(tmp_path)
    coco = RefCOCO(split='val', data_root=root, data_prefix={'img': 'train2014'})
    assert coco[0]['img_path'] == str(tmp_path / 'train2014' / forms.NAMES[22])
    clef = RefCOCO(name='refclef', split='val', data_root=root)
    assert clef[0]['img_path'] == str(tmp_path / 'images/saiapr_tc-12' / forms.NAMES[22])
    assert (clef[0]['dataset'], clef.split_by) == ('refclef', 'berkeley')
    assert RefCOCO(name='refcocog', split='val', data_root=root).split_by == 'umd'
    flat = {'ann_file': 'refcoco/refs(unc).p', 'data_prefix': {'img': ''}}
    sample = RefCOCO(split='val', data_root=root, **flat)[0]
    assert sample['img_path'] == str(tmp_path / forms.NAMES[22])


@pytest.mark.parametrize(
    'options',
    [
        {'name': 'refcoco', 'split': 'testD'},
        {'name': 'refcoco', 'split': 'val', 'split_by': 'umd'},
        {'name': 'coco', 'split': 'val'},
        {'name': 'refcoco', 'split': 'val', 'test_mode': True, 'per_ref': True},
        {'name': 'refcoco', 'split': 'val', 'max_missing': 1},
    ],
)
def test_options_out_of_range(forms, tmp_path, options):
    with pytest.raises(ValueError, match=r'What to do|max_missing'):
        RefCOCO(data_root=forms.write_refer(tmp_path), **options)


def test_names_out_of_range(forms, tmp_path):
    with pytest.raises(ValueError, match="no dataset 'refclef' here.\nWhat to do: choose of"):
        MDETRRefCOCO(name='refclef', split='val', data_root=str(tmp_path))
    for name, split in (('refcoco', 'val'), ('gref', 'test'), ('unc', 'test')):
        with pytest.raises(ValueError, match=f"no index '{name}' with a split '{split}'"):
            GroundingIndex(name=name, split=split, data_root=str(tmp_path))


def test_split_that_the_file_lacks(forms, tmp_path):
    with pytest.raises(AnnotationError, match=r"split 'testC'; splits: train, val, testA, testB"):
        RefCOCO(split='testC', data_root=forms.write_refer(tmp_path))


def draw(sample):
    return sample['text'], sample['sent_id'], int(sample['rng'].integers(2**60))


def test_one_sample_per_referent(forms, tmp_path):
    forms.put_images(tmp_path / 'images')
    options = {'split': 'testA', 'data_root': forms.write_refer(tmp_path), 'pipeline': [draw]}
    options['data_prefix'] = {'img': 'images'}
    dataset = RefCOCO(per_ref=True, **options)
    assert len(dataset) == 2
    drawn = Counter()
    for epoch in range(60):
        dataset.set_epoch(epoch)
        first, second = dataset[0], dataset[1]
        assert first == dataset[0]
        drawn[first[:2]] += 1
        assert second[:2] == ('in both', 1008)
    assert set(drawn) == {('small one', 1004), ('tiny', 1005), ('man in red', 1006)}
    assert min(drawn.values()) > 8
    other = RefCOCO(per_ref=True, serialize_data=False, **options)
    other.set_epoch(59)
    assert [other[0], other[1]] == [first, second]
    assert 'sentences' not in RefCOCO(per_ref=True, **{**options, 'pipeline': ()})[0]


def test_generator_depends_on_seed_epoch_and_index_only(forms, tmp_path):
    forms.put_images(tmp_path / 'images')
    options = {'split': 'train', 'data_root': forms.write_refer(tmp_path), 'pipeline': [draw]}
    dataset = RefCOCO(data_prefix={'img': 'images'}, **options)
    drawn = {}
    for seed in (0, 5):
        dataset.set_seed(seed)
        for epoch in (0, 1):
            dataset.set_epoch(epoch)
            for i in range(3):
                drawn[seed, epoch, i] = dataset[i][2]
    assert len(set(drawn.values())) == len(drawn)
    assert drawn[5, 1, 2] == np.random.default_rng((5, 1, 2)).integers(2**60)


def test_missing_images(forms, tmp_path, log):
    forms.put_images(tmp_path / 'images', [forms.NAMES[11], forms.NAMES[22]])
    options = {'data_root': forms.write_refer(tmp_path), 'data_prefix': {'img': 'images'}}
    refs = forms.references()
    for ref in refs:
        ref['split'] = 'train'
    forms.write_refer(tmp_path, refs)
    pipeline = [draw]
    for more in ({}, {'test_mode': True, 'max_missing': 0.9}, {'max_missing': 0.3}):
        with pytest.raises(FileNotFoundError, match=r'1 of 3 images are missing in .*: c.jpg'):
            RefCOCO(split='train', pipeline=pipeline, **options, **more)
    assert len(RefCOCO(split='train', **options)) == 9
    dataset = RefCOCO(split='train', pipeline=pipeline, max_missing=0.4, **options)
    assert len(dataset) == 4
    assert '1 of 3 images are missing and are left out: c.jpg' in log.text


def test_index_boxes_and_numbers(forms, tmp_path):
    rows = [
        ('7.jpg', (3, 4), np.array([1.9, 2.9, 11.9, 12.9]), 'Left Dog', {}),
        ('7.jpg', (3, 4), [np.float32(1), np.int64(2), 11, 12.5], 'dog', {}),
        ('x.jpg', (3, 4), (1, 2, 11, 12), 'cat', {}),
    ]
    forms.write_index(tmp_path, rows)
    forms.write_index(tmp_path, rows, name='referit')
    forms.write_index(tmp_path, [(row[0], *row[2:4]) for row in rows], name='flickr')
    root = str(tmp_path)
    coco = GroundingIndex(name='unc', split='val', data_root=root)
    # each value is cut before the sum, as published: 1.9 + 11.9 gives 12
    expected = [[1, 2, 12, 14], [1, 2, 12, 14], [1, 2, 12, 14]]
    assert [s['box'].tolist() for s in forms.samples(coco)] == expected
    for name in ('referit', 'flickr'):
        corners = GroundingIndex(name=name, split='val', data_root=root)
        assert [s['box'].tolist() for s in forms.samples(corners)] == [[1, 2, 11, 12]] * 3
        exact = GroundingIndex(name=name, split='val', data_root=root, cast_int=False)
        assert exact[1]['box'].tolist() == [1, 2, 11, 12.5]
    assert corners[0]['dataset'] == 'flickr30k'
    assert [s['text'] for s in forms.samples(coco)] == ['left dog', 'dog', 'cat']
    keys = ('img_id', 'ref_id', 'sent_id', 'ann_id')
    ids = [tuple(sample[key] for key in keys) for sample in forms.samples(coco)]
    assert ids == [(7, 0, 0, -1), (7, 0, 1, -1), (1, 1, 2, -1)]
    assert coco[0]['img_path'].endswith('ln_data/other/images/mscoco/images/train2014/7.jpg')


@pytest.mark.parametrize('new', [True, False])
def test_index_of_old_and_new_pytorch_and_joined_splits(forms, tmp_path, new):
    option = {'_use_new_zipfile_serialization': new}
    for split in ('train', 'val'):
        forms.write_index(tmp_path, forms.index(split), split=split, **option)
    dataset = GroundingIndex(name='unc', split='trainval', data_root=str(tmp_path))
    texts = ['man in red', 'the left man', 'right man', 'everything']
    assert [s['text'] for s in forms.samples(dataset)] == texts
    assert [s['sent_id'] for s in forms.samples(dataset)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match='joins two files'):
        GroundingIndex(name='unc', split='trainval', ann_file='a.pth')


def test_masks_of_the_routes_decode(forms, tmp_path):
    dataset = RefCOCO(split='train', data_root=forms.write_refer(tmp_path))
    mask = decode_segmentation(dataset[0]['segmentation'], forms.HEIGHT, forms.WIDTH)
    # a triangle of half of 30 x 40 pixels
    assert abs(int(mask.sum()) - 600) < 40
    assert mask[20:60, 10:40].sum() == mask.sum()
