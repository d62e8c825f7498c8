"""Files of referring expressions that are malformed, damaged or hostile."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmvl.grounding.datasets import (
    AnnotationError,
    GroundingIndex,
    MDETRRefCOCO,
    RefCOCO,
)

LONG = 'dog ' * 20_000


@pytest.mark.parametrize('new', [True, False])
def test_files_that_call_a_function_are_refused(forms, tmp_path, new):
    marker = tmp_path / 'ran'
    bomb = forms.Call(Path.mkdir, marker)
    forms.write_refer(tmp_path, [bomb])
    with pytest.raises(AnnotationError, match=r'refs\(unc\).p, byte .*which is code') as refs:
        RefCOCO(split='val', data_root=str(tmp_path))
    forms.write_index(tmp_path, [bomb], _use_new_zipfile_serialization=new)
    with pytest.raises(AnnotationError, match=r'unc_val.pth: asks for .*which is code') as rows:
        GroundingIndex(name='unc', split='val', data_root=str(tmp_path))
    for error in (refs, rows):
        assert 'What to do' in str(error.value)
        assert len(str(error.value).splitlines()) <= 3
    assert not marker.exists()
    pickle.loads(pickle.dumps(bomb))
    assert marker.exists(), 'the marker works: only the refusal kept it away'


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        ((1, 'ann_id'), 999, r'entry 1.ann_id: 999 is not in instances.json'),
        ((1, 'image_id'), 12, r'entry 1.image_id: 12 is not in instances.json'),
        ((1, 'image_id'), 22, r'entry 1.image_id: image 22, but the annotation 102 is of 11'),
        ((1, 'ref_id'), '2', r"entry 1.ref_id: expected an integer, got '2'"),
        ((1, 'split'), 3, r'entry 1.split: expected text, got 3'),
        ((1, 'split'), None, r"entry 1: key 'split' is missing"),
        ((1, 'sentences'), 'x', r"entry 1.sentences: expected a list, got 'x'"),
        ((1, 'sentences', 0), 7, r"entry 1, sentences\[0\]: key 'sent_id' is missing; found 'int'"),
        ((0, 'sentences', 1, 'sent'), None, r"entry 0, sentences\[1\]: key 'sent' is missing"),
        ((0, 'sentences', 1, 'sent'), 5, r'entry 0, sentences\[1\].sent: expected text, got 5'),
        ((0, 'sentences', 1, 'sent'), '\ud800', r'sentences\[1\].sent: expected text, got .*ud800'),
        ((0, 'sentences', 1, 'sent_id'), 2**70, r'sentences\[1\].sent_id: expected an integer'),
        ((1,), [], r"entry 1: key 'split' is missing; found 'list'"),
    ],
)
def test_malformed_references(forms, tmp_path, path, value, said):
    forms.write_refer(tmp_path, forms.changed(forms.references(), *path, value=value))
    check_malformed(RefCOCO, tmp_path, said, 'refcoco/refs(unc).p')


def check_malformed(kind, folder, said, file, **options):
    for test_mode in (False, True):
        with pytest.raises(AnnotationError, match=said) as error:
            kind(split='train', data_root=str(folder), test_mode=test_mode, **options)
        message = str(error.value)
        assert message.startswith(str(folder / file))
        assert 'What to do: ' in message
        assert len(message.splitlines()) <= 3


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        (('annotations', 1, 'bbox'), [1, 2, 3], r'annotations\[1\].bbox: expected 4 finite'),
        (('annotations', 1, 'bbox', 2), float('nan'), r'annotations\[1\].bbox: expected 4 finite'),
        (('annotations', 1, 'bbox', 2), 10**400, r'annotations\[1\].bbox: expected 4 finite'),
        (('annotations', 1, 'bbox', 2), True, r'annotations\[1\].bbox: expected 4 finite'),
        (('annotations', 1, 'bbox'), None, r"annotations\[1\]: key 'bbox' is missing"),
        (('images', 0, 'file_name'), '', r'images\[0\].file_name: expected a file name'),
        (('images', 0, 'file_name'), 'a\0', r'images\[0\].file_name: expected a file name'),
        (('images', 0, 'height'), 0, r'images\[0\]: a size of 100 x 0 pixels'),
        (('images', 0, 'height'), 10**9, r'images\[0\]: a size of 100 x 1000000000 pixels'),
        (('images',), {}, r'instances.json.images: expected a list|, .images: expected a list'),
        (('annotations',), None, r"key 'annotations' is missing"),
    ],
)
def test_malformed_instances(forms, tmp_path, path, value, said):
    forms.write_refer(tmp_path, content=forms.changed(forms.instances(), *path, value=value))
    check_malformed(RefCOCO, tmp_path, said, 'refcoco/instances.json')


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        (('images', 1, 'caption'), None, r"images\[1\]: key 'caption' is missing"),
        (('images', 1, 'id'), 9, r'images\[1\]: expected one annotation of image 9, found 0'),
        (('images', 1, 'id'), 3, r'no sentence is left|annotation'),
        (('images', 1, 'dataset_name'), 'refcocog', r"dataset_name: expected 'refcoco', got"),
        (('images', 1), 3, r"images\[1\]: key 'id' is missing"),
        (('annotations', 0, 'image_id'), 1, r'images\[0\]: expected one annotation .* found 2'),
        (('annotations', 0, 'image_id'), 'x', r'annotations\[0\].image_id: expected an integer'),
        (('annotations', 0, 'original_id'), None, r"annotations\[0\]: key 'original_id'"),
        (('annotations', 0, 'bbox'), {}, r'annotations\[0\].bbox: expected 4 finite numbers'),
    ],
)
def test_malformed_mdetr(forms, tmp_path, path, value, said):
    forms.write_mdetr(tmp_path, 'train', forms.changed(forms.mdetr('train'), *path, value=value))
    file = 'mdetr_annotations/finetune_refcoco_train.json'
    if value == 3 and path[-1] == 'id':  # a number that occurs twice is refused in test mode only
        with pytest.raises(AnnotationError, match='an earlier sentence has the number 3 too'):
            MDETRRefCOCO(split='train', data_root=str(tmp_path), test_mode=True)
        return
    check_malformed(MDETRRefCOCO, tmp_path, said, file)


@pytest.mark.parametrize(
    ('rows', 'said'),
    [
        ([('a.jpg', [1, 2, 3, 4], 'x')], r'entry 0: expected 5 values, .*; got'),
        ([7], r'entry 0: expected 5 values'),
        ([('', 0, [1, 2, 3, 4], 'x', 0)], r'entry 0, value 0: expected a file name'),
        ([('a.jpg', 0, [1, 2, 3], 'x', 0)], r'entry 0, value 2: expected 4 finite numbers'),
        ([('a.jpg', 0, np.zeros(5), 'x', 0)], r'entry 0, value 2: expected 4 finite numbers'),
        ([('a.jpg', 0, torch.zeros(4), 'x', 0)], r'holds a Tensor where data is expected'),
        ([('a.jpg', 0, [1, 2, 3, 4], LONG, 0)] * 3000, r'would be more than 209,715,200 bytes'),
        ([('a.jpg', 0, [1, 2, 3, 4], 8, 0)], r'entry 0, value 3: expected text, got 8'),
        ({'a': 1}, r'expected a list of tuples, got a dict'),
    ],
)
def test_malformed_index(forms, tmp_path, rows, said):
    forms.write_index(tmp_path, rows, split='train')
    check_malformed(GroundingIndex, tmp_path, said, 'data/unc/unc_train.pth', name='unc')


def test_files_that_cannot_be_read(forms, tmp_path):
    for kind, more in ((RefCOCO, {}), (MDETRRefCOCO, {}), (GroundingIndex, {'name': 'unc'})):
        with pytest.raises(FileNotFoundError, match='Annotation file not found: .*\n.*\nWhat to'):
            kind(split='train', data_root=str(tmp_path), **more)
    forms.write_refer(tmp_path)
    (tmp_path / 'refcoco' / 'instances.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'not found: .*instances.json'):
        RefCOCO(split='train', data_root=str(tmp_path))
    forms.write_index(tmp_path, forms.index('train'), split='train')
    whole = (tmp_path / 'data/unc/unc_train.pth').read_bytes()
    for data in (b'', whole[: len(whole) // 2], b'<html></html>', b'\x80\x02junk', b'no\xff'):
        (tmp_path / 'data/unc/unc_train.pth').write_bytes(data)
        with pytest.raises(AnnotationError, match=r'unc_train.pth.*\nWhat to do'):
            GroundingIndex(name='unc', split='train', data_root=str(tmp_path))
        (tmp_path / 'refcoco/refs(unc).p').write_bytes(data)
        with pytest.raises(AnnotationError, match=r'refs\(unc\).p.*\nWhat to do'):
            RefCOCO(split='train', data_root=str(tmp_path))
        forms.write_mdetr(tmp_path, 'train')
        (tmp_path / 'mdetr_annotations/finetune_refcoco_train.json').write_bytes(data)
        with pytest.raises(AnnotationError, match=r'refcoco_train.json: .*\nWhat to do'):
            MDETRRefCOCO(split='train', data_root=str(tmp_path))
    for text in ('[]', '{"a":\n 1,}', '{"images": ' + '[' * 10**5, '9' * 5000):
        (tmp_path / 'mdetr_annotations/finetune_refcoco_train.json').write_text(text)
        with pytest.raises(AnnotationError, match=r'refcoco_train.json: .*\nWhat to do'):
            MDETRRefCOCO(split='train', data_root=str(tmp_path))


@pytest.mark.parametrize('box', [[5, 6, 0, 8], [5, 6, 7, -8]])
@pytest.mark.parametrize('route', ['refer', 'mdetr', 'index'])
def test_boxes_without_area(forms, tmp_path, log, route, box):
    boxed = {**forms.BOXES, 102: (11, box)}
    if route == 'refer':
        content = forms.changed(forms.instances(), 'annotations', 1, 'bbox', value=box)
        kind, options = RefCOCO, {'data_root': forms.write_refer(tmp_path, content=content)}
        where = r'instances.json, annotations\[1\].bbox'
    elif route == 'mdetr':
        content = forms.changed(forms.mdetr('train'), 'annotations', 0, 'bbox', value=box)
        kind, options = MDETRRefCOCO, {'data_root': forms.write_mdetr(tmp_path, 'train', content)}
        where = r'annotations\[0\].bbox'
    else:
        rows = forms.index('train')
        rows[2] = (*rows[2][:2], boxed[102][1], *rows[2][3:])
        kind = GroundingIndex
        options = {'name': 'unc', 'data_root': forms.write_index(tmp_path, rows, split='train')}
        where = 'entry 2, value 2'
    with pytest.raises(AnnotationError, match=rf'{where}: the box \[.*\] .* has no area'):
        kind(split='train', test_mode=True, **options)
    dataset = kind(split='train', **options)
    assert [s['text'] for s in forms.samples(dataset)] == ['man in red', 'the left man']
    (record,) = log.records
    assert 'dropped 1 of 3 sentences (box without area): ' in record.getMessage()


def test_duplicate_sentence_ids(forms, tmp_path):
    refs = forms.references()
    refs[1]['sentences'][0]['sent_id'] = 1001
    root = forms.write_refer(tmp_path, refs)
    assert len(RefCOCO(split='train', data_root=root)) == 3
    with pytest.raises(AnnotationError, match=r'entry 1, sentences\[0\].sent: an earlier.* 1001'):
        RefCOCO(split='train', data_root=root, test_mode=True)
