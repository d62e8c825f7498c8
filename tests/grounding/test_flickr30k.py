"""Flickr30k Entities: phrases, boxes, and files that are not as they should be."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmvl.grounding.datasets import (
    AnnotationError,
    Flickr30kEntities,
)


def xml(objects, extra=''):
    parts = []
    for names, box in objects:
        tags = ''.join(f'<name>{name}</name>' for name in names)
        corners = zip(('xmin', 'ymin', 'xmax', 'ymax'), box or (), strict=False)
        inner = ''.join(f'<{key}>{value}</{key}>' for key, value in corners)
        shape = f'<bndbox>{inner}</bndbox>' if box else '<scene>1</scene><nobndbox>0</nobndbox>'
        parts.append(f'<object>{tags}{shape}</object>')
    size = '<size><width>100</width><height>80</height><depth>3</depth></size>'
    return f'{extra}<annotation><filename>1.jpg</filename>{size}{"".join(parts)}</annotation>'


SENTENCES = """[/EN#5/people/clothing Two young men] play in [/EN#7/scene the park] .
[/EN#8/other A ball] flies past [/EN#5/people them] and [/EN#0/notvisual itself] .
Nothing here .
"""


OBJECTS = [
    (['5'], (11, 21, 40, 60)),
    (['5', '8'], (51, 1, 70, 30)),
    (['7'], None),
    (['9'], (1, 1, 5, 5)),
]


def write_flickr(folder, objects=None, sentences=SENTENCES, extra='', ids='36979\n'):
    (folder / 'Annotations').mkdir(exist_ok=True)
    (folder / 'Sentences').mkdir(exist_ok=True)
    (folder / 'train.txt').write_text(ids)
    (folder / 'Annotations/36979.xml').write_text(
        xml(OBJECTS if objects is None else objects, extra)
    )
    (folder / 'Sentences/36979.txt').write_text(sentences)
    return str(folder)


def flickr_json():
    image = {'file_name': '36979.jpg', 'width': 100, 'height': 80}
    first = {**image, 'id': 1, 'caption': 'Two young men play in the park .'}
    second = {**image, 'id': 2, 'caption': 'A ball flies past them and itself .'}
    first['tokens_positive_eval'] = [[[0, 3], [4, 13]]]
    second['tokens_positive_eval'] = [[[0, 6]], [[18, 22]]]
    boxes = [(1, [0], [10, 20, 29, 39]), (1, [0], [50, 0, 19, 29])]
    boxes += [(2, [1], [10, 20, 29, 39]), (2, [0, 1], [50, 0, 19, 29])]
    annotations = [
        {'image_id': image_id, 'phrase_ids': phrases, 'bbox': box}
        for image_id, phrases, box in boxes
    ]
    return {'images': [first, second], 'annotations': annotations}


def test_flickr_phrases(forms, tmp_path):
    root = write_flickr(tmp_path)
    (tmp_path / 'val.json').write_text(json.dumps(flickr_json()))
    folders = Flickr30kEntities(split='train', data_root=root)
    found = forms.samples(folders)
    assert [s['text'] for s in found] == ['Two young men', 'A ball', 'them']
    assert [s['ref_id'] for s in found] == [5, 8, 5]
    assert [s['sent_id'] for s in found] == [0, 1, 2]
    both = [[10, 20, 39, 59], [50, 0, 69, 29]]
    assert [s['boxes'].tolist() for s in found] == [both, both[1:], both]
    assert [s['box'].tolist() for s in found] == [[10, 0, 69, 59], both[1], [10, 0, 69, 59]]
    assert found[0]['boxes'].dtype == found[0]['box'].dtype == np.float32
    assert found[0]['img_path'] == str(tmp_path / 'flickr30k_images/36979.jpg')
    assert (found[0]['img_id'], found[0]['dataset']) == (36979, 'flickr30k')
    assert found[0]['segmentation'] is None
    other = forms.samples(Flickr30kEntities(split='val', data_root=root, ann_file='val.json'))
    assert len(other) == len(found)
    for one, two in zip(other, found, strict=True):
        for key in ('text', 'img_path', 'img_id', 'sent_id', 'ann_id'):
            assert one[key] == two[key]
        assert one['box'].tolist() == two['box'].tolist()
        assert sorted(one['boxes'].tolist()) == sorted(two['boxes'].tolist())


BOMB = '<!DOCTYPE x [<!ENTITY a "lol">]>'


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'extra': BOMB}, r'36979.xml: has a document type, ent'),
        ({'objects': [(['5'], (1, 2, 3))]}, r'36979.xml, object 1, bndbox/ymax: expected a number'),
        ({'objects': [(['5'], (1, 2, 'x', 3))]}, r"object 1, bndbox/xmax: .*, got 'x'"),
        ({'objects': [(['a'], (1, 2, 3, 4))]}, r"object 1, name: expected a number, got 'a'"),
        ({'extra': '<a>'}, r'36979.xml: not valid XML'),
        ({'sentences': '[/EN#5people A man] .'}, r'36979.txt, line 1: expected \[/EN#chain/type'),
        ({'sentences': 'A man .\n[/EN#5/people A man .'}, r'36979.txt, line 2: expected'),
        ({'sentences': 'a' * 2**21}, r'36979.txt: 2,097,152 bytes are more than'),
        ({'ids': '../36979'}, r'train.txt, entry 0: expected the number of an image'),
        ({'ids': '1'}, r'Annotations/1.xml: there is no such file'),
    ],
)
def test_malformed_flickr(tmp_path, change, said):
    root = write_flickr(tmp_path, **change)
    with pytest.raises(AnnotationError, match=said) as error:
        Flickr30kEntities(split='train', data_root=root)
    assert len(str(error.value).splitlines()) <= 3
    assert 'What to do: ' in str(error.value)


def test_declarations_in_another_encoding_are_not_read(tmp_path):
    root = write_flickr(tmp_path)
    text = '<?xml version="1.0" encoding="utf-16"?>' + xml(OBJECTS, BOMB)
    (tmp_path / 'Annotations/36979.xml').write_bytes(text.encode('utf-16'))
    with pytest.raises(AnnotationError, match='not a text file'):
        Flickr30kEntities(split='train', data_root=root)
    (tmp_path / 'Annotations/36979.xml').write_bytes(text.encode('utf-16-le'))
    with pytest.raises(AnnotationError, match='has a document type, entities or zeros'):
        Flickr30kEntities(split='train', data_root=root)


@pytest.mark.parametrize(
    ('path', 'value', 'said'),
    [
        (('images', 0, 'tokens_positive_eval'), None, r"key 'tokens_positive_eval' is missing"),
        (
            ('images', 0, 'tokens_positive_eval', 0),
            [[0, 99]],
            r'images\[0\].tokens_positive_eval\[0',
        ),
        (('images', 0, 'tokens_positive_eval', 0), 5, r'expected pairs of positions in 32 char'),
        (('annotations', 1, 'phrase_ids'), [7], r'annotations\[1\].phrase_ids: 7 is none of the 1'),
        (('annotations', 1, 'bbox'), [1], r'annotations\[1\].bbox: expected 4 finite numbers'),
    ],
)
def test_malformed_flickr_json(forms, tmp_path, path, value, said):
    (tmp_path / 'a.json').write_text(json.dumps(forms.changed(flickr_json(), *path, value=value)))
    with pytest.raises(AnnotationError, match=said):
        Flickr30kEntities(split='val', data_root=str(tmp_path), ann_file='a.json')


def test_one_flat_box_of_several(tmp_path, log):
    root = write_flickr(tmp_path, [(['5'], (11, 21, 40, 60)), (['5'], (51, 1, 51, 30))])
    with pytest.raises(AnnotationError, match=r'36979.xml, chain 5: the box .* has no area'):
        Flickr30kEntities(split='train', data_root=root, test_mode=True)
    with pytest.raises(AnnotationError, match='no sentence is left'):
        Flickr30kEntities(split='train', data_root=root)
    assert 'dropped 2 of 2 sentences (box without area)' in log.text


def test_check(tmp_path):
    report = Flickr30kEntities.check(False, split='train', data_root=write_flickr(tmp_path))
    assert report.errors == 0
    assert report.counts['with several boxes'] == 2
    (note,) = report.problems
    assert note.detail.startswith('3 sentences of 427,193, 1 images of 29,783 published')
    write_flickr(tmp_path, [(['5'], (91, 1, 110, 30)), (['8'], (101, 1, 110, 30))], ids='36979 4')
    problems = Flickr30kEntities.check(False, split='train', data_root=str(tmp_path)).problems
    places = [(p.kind, Path(p.file).name, p.where) for p in problems[:-1]]
    assert places == [
        ('missing annotation', '4.xml', ''),
        ('box beyond the edge', '36979.xml', 'chain 5'),
        ('box outside its image', '36979.xml', 'chain 8'),
    ]
