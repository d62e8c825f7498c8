import json
import logging
import pickle

import numpy as np
import pytest
from mmengine.logging import MMLogger
from scipy.io import savemat

from mmvl.hoi.datasets import AnnotationError, HICODet, read_annotations
from mmvl.hoi.vocabulary import COCO_IDS, HOI_INDEX, OBJECTS, VERBS

PERSON, BICYCLE, DOG = 0, 1, 16
RIDE, HOLD, WALK = VERBS.index('ride'), VERBS.index('hold'), VERBS.index('walk')
# Two persons ride one bicycle; the first also holds it, the second walks a dog. Then nothing.
BOXES = [(10, 20, 60, 90), (5, 50, 80, 99), (30, 10, 70, 95), (60, 70, 79, 98)]
LABELS = [PERSON, BICYCLE, PERSON, DOG]
HOIS = [(0, 1, RIDE), (2, 1, RIDE), (0, 1, HOLD), (2, 3, WALK)]


def entry(name='a.jpg', boxes=BOXES, labels=LABELS, hois=HOIS):
    return {
        'file_name': name,
        'annotations': [
            {'bbox': list(box), 'category_id': int(COCO_IDS[label])}
            for box, label in zip(boxes, labels, strict=True)
        ],
        'hoi_annotation': [
            {'subject_id': s, 'object_id': o, 'category_id': v + 1, 'hoi_category_id': 1}
            for s, o, v in hois
        ],
    }


def write_json(folder, content):
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def one_based(box):
    return [box[0] + 1, box[1] + 1, box[2], box[3]]


def pair_lists():
    objects = sorted(OBJECTS)
    pairs = {
        'boxes_h': [one_based(BOXES[s]) for s, _, _ in HOIS],
        'boxes_o': [one_based(BOXES[o]) for _, o, _ in HOIS],
        'object': [objects.index(OBJECTS[LABELS[o]]) for _, o, _ in HOIS],
        'verb': [v for _, _, v in HOIS],
        'hoi': [0] * len(HOIS),
    }
    return {
        'annotation': [pairs, {key: [] for key in pairs}],
        'filenames': ['a.jpg', 'b.jpg'],
        'empty': [1],
        'objects': objects,
        'verbs': list(VERBS),
    }


def struct(rows):
    array = np.empty((1, len(rows)), dtype=[(key, object) for key in rows[0]])
    for i, row in enumerate(rows):
        array[0, i] = tuple(row.values())
    return array


def mat_boxes(ids):
    boxes = [one_based(BOXES[i]) for i in ids]
    return struct([{'x1': x1, 'x2': x2, 'y1': y1, 'y2': y2} for x1, y1, x2, y2 in boxes])


def write_mat(folder, connection=((1, 1), (2, 1)), interaction=None):
    def hoi(verb, label, humans, things, links):
        number = interaction or HOI_INDEX[verb, label] + 1
        return {
            'id': number,
            'bboxhuman': mat_boxes(humans),
            'bboxobject': mat_boxes(things),
            'connection': np.array(links, dtype=float),
            'invis': 0,
        }

    hidden = dict(hoi(HOLD, DOG, [0], [3], [(1, 1)]), invis=1)
    visible = [
        hoi(RIDE, BICYCLE, [0, 2], [1], connection),
        hoi(HOLD, BICYCLE, [0], [1], [(1, 1)]),
        hoi(WALK, DOG, [2], [3], [(1, 1)]),
    ]
    size = struct([{'width': 100, 'height': 100, 'depth': 3}])
    images = [
        {'filename': 'a.jpg', 'size': size, 'hoi': struct([hidden, *visible])},
        {'filename': 'b.jpg', 'size': size, 'hoi': struct([hidden])},
    ]
    path = folder / 'anno_bbox.mat'
    savemat(path, {'bbox_train': struct(images), 'bbox_test': struct(images[1:])})
    return str(path)


def triplets(sample):
    """Pairs as a set of plain values, free of the order of boxes."""
    boxes, labels = sample['boxes'].tolist(), sample['labels'].tolist()
    return {
        (tuple(boxes[s]), labels[s], tuple(boxes[o]), labels[o], v)
        for s, o, v in sample['hois'].tolist()
    }


EXPECTED = {(BOXES[s], PERSON, BOXES[o], LABELS[o], v) for s, o, v in HOIS}


@pytest.mark.parametrize('form', ['list', 'pairs', 'mat'])
def test_three_forms_give_the_same_pairs(form, tmp_path):
    if form == 'mat':
        path = write_mat(tmp_path)
    else:
        content = [entry(), entry('b.jpg', [], [], [])] if form == 'list' else pair_lists()
        path = write_json(tmp_path, content)
    first, second = read_annotations(path)
    assert (first['file_name'], second['file_name']) == ('a.jpg', 'b.jpg')
    assert triplets(first) == EXPECTED
    np.testing.assert_array_equal(first['boxes'], np.array(BOXES, np.float32))
    assert len(first['hois']) == len(HOIS)
    assert first['boxes'].dtype == np.float32
    assert first['labels'].dtype == first['hois'].dtype == np.int64
    assert second['boxes'].shape == (0, 4)
    assert second['hois'].shape == (0, 3)


def test_mat_halves(tmp_path):
    path = write_mat(tmp_path)
    assert [s['file_name'] for s in read_annotations(path, test_mode=True)] == ['b.jpg']


def test_equal_boxes_of_two_classes_stay_apart(tmp_path):
    content = pair_lists()
    pairs = content['annotation'][0]
    pairs['boxes_o'][3] = pairs['boxes_h'][3]
    sample = read_annotations(write_json(tmp_path, content))[0]
    subject, thing, _ = sample['hois'][3]
    assert subject != thing
    assert sample['labels'][[subject, thing]].tolist() == [PERSON, DOG]


def test_ids_may_be_text(tmp_path):
    content = entry()
    content['annotations'][1]['category_id'] = '2\n'
    content['hoi_annotation'][0]['category_id'] = f'{RIDE + 1}\n'
    assert triplets(read_annotations(write_json(tmp_path, [content]))[0]) == EXPECTED


def test_sample_before_the_pipeline(tmp_path):
    write_json(tmp_path, [entry()])
    dataset = HICODet(
        ann_file='annotations.json', data_root=str(tmp_path), data_prefix={'img': 'images/x'}
    )
    sample = dataset[0]
    assert sample['img_path'] == str(tmp_path / 'images/x' / 'a.jpg')
    assert (sample['file_name'], sample['img_id']) == ('a.jpg', 0)
    np.testing.assert_array_equal(sample['boxes'], np.array(BOXES, np.float32))
    assert sample['hois'].tolist() == [list(hoi) for hoi in HOIS]
    assert dataset.metainfo['classes'][BICYCLE] == 'bicycle'
    assert dataset.metainfo['verbs'][RIDE] == 'ride'


def test_training_drops_images_with_a_missing_box(tmp_path, caplog):
    bad = [entry(f'bad{i}.jpg', hois=[*HOIS, (0, 4, RIDE)]) for i in range(4)]
    path = write_json(tmp_path, [bad[0], entry(), *bad[1:], entry('c.jpg')])
    logger = MMLogger.get_instance('test_datasets')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        dataset = HICODet(ann_file=path)
    logger.removeHandler(caplog.handler)
    assert [dataset[i]['img_id'] for i in range(len(dataset))] == [1, 5]
    messages = [r.getMessage() for r in caplog.records if 'dropped' in r.getMessage()]
    assert len(messages) == 1
    assert 'dropped 4 of 6' in messages[0]
    assert 'bad0.jpg, bad1.jpg, bad2.jpg, ...' in messages[0]


def test_evaluation_refuses_a_missing_box(tmp_path):
    path = write_json(tmp_path, [entry(), entry('bad.jpg', hois=[(0, 1, RIDE), (0, 4, RIDE)])])
    expected = r'entry 1 \(bad.jpg\), interaction 1: subject 0 or object 4 is outside the 4 boxes'
    with pytest.raises(AnnotationError, match=expected):
        HICODet(ann_file=path, test_mode=True)


def test_boxes_are_cut_in_training_only(tmp_path):
    path = write_json(tmp_path, [entry()])
    cut = HICODet(ann_file=path, max_boxes=3)[0]
    assert len(cut['boxes']) == len(cut['labels']) == 3
    assert cut['hois'].tolist() == [list(hoi) for hoi in HOIS[:3]]
    whole = HICODet(ann_file=path, max_boxes=3, test_mode=True)[0]
    assert (len(whole['boxes']), len(whole['hois'])) == (4, 4)


@pytest.mark.parametrize('test_mode', [False, True])
def test_empty_images_stay_unless_filtered(test_mode, tmp_path):
    path = write_json(tmp_path, pair_lists())
    assert len(HICODet(ann_file=path, test_mode=test_mode)) == 2
    filtered = HICODet(ann_file=path, test_mode=test_mode, filter_cfg={'filter_empty_gt': True})
    assert [filtered[i]['file_name'] for i in range(len(filtered))] == ['a.jpg']


def broken(key, index, field, value):
    content = [entry(), entry('b.jpg')]
    item = content[1][key][index]
    if value is None:
        del item[field]
    else:
        item[field] = value
    return content


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (broken('annotations', 2, 'category_id', 12), r'entry 1 \(b.jpg\), annotations\[2\].*12'),
        (broken('annotations', 0, 'category_id', 'x'), r'annotations\[0\].category_id: .*integer'),
        (broken('annotations', 1, 'bbox', [1, 2, 3]), r'annotations\[1\].bbox: expected 4 finite'),
        (broken('annotations', 1, 'bbox', [1, 2, 3, float('nan')]), r'annotations\[1\].bbox'),
        (broken('annotations', 1, 'bbox', None), r"annotations\[1\]: key 'bbox' is missing"),
        (broken('hoi_annotation', 3, 'category_id', 118), r'hoi_annotation\[3\].*118'),
        (broken('hoi_annotation', 3, 'category_id', 0), r'hoi_annotation\[3\].*verb 0'),
        (broken('hoi_annotation', 0, 'object_id', '1'), r'hoi_annotation\[0\].object_id: .*int'),
        ([['a.jpg']], r"entry 0: key 'file_name' is missing"),
        ({'images': [], 'annotations': []}, r"found \['annotations', 'images'\]"),
        (dict(pair_lists(), filenames=['a.jpg']), r'1 filenames but 2 annotations'),
        (dict(pair_lists(), verbs=[*VERBS[1:], 'fold']), r"verbs: expected the 117.*\['fold'\]"),
    ],
)
def test_wrong_content_is_named(content, message, tmp_path):
    path = write_json(tmp_path, content)
    with pytest.raises(AnnotationError, match=message) as error:
        read_annotations(path)
    assert path in str(error.value)
    assert str(error.value).count('\n') <= 2


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        ('object', [0, 80, 0, 0], r'annotation\[0\] \(a.jpg\).object\[1\]: 80'),
        ('verb', [-1, 0, 0, 0], r'verb\[0\]: -1'),
        ('boxes_h', [[1, 2, 3, 4]], r'different lengths'),
        ('boxes_o', [[1, 2, 3, 4]] * 3 + [[1, 2, 'x', 4]], r'boxes_o\[3\]: expected 4 finite'),
    ],
)
def test_wrong_pair_lists_are_named(key, value, message, tmp_path):
    content = pair_lists()
    content['annotation'][0][key] = value
    with pytest.raises(AnnotationError, match=message):
        read_annotations(write_json(tmp_path, content))


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'hico_20160224_det/.*trainval_hico.json'):
        read_annotations(str(tmp_path / 'none.json'))
    cut = tmp_path / 'cut.json'
    cut.write_text('[{"file_name": "a.jpg",\n "annotations": [')
    with pytest.raises(AnnotationError, match=r'not valid JSON: .* line 2, column 18'):
        read_annotations(str(cut))
    for name in ('image.json', 'image.mat'):
        (tmp_path / name).write_bytes(b'\x89PNG' * 50)
        with pytest.raises(AnnotationError, match=name):
            read_annotations(str(tmp_path / name))


def test_wrong_mat_is_named(tmp_path):
    with pytest.raises(AnnotationError, match=r'bbox_train\(1\) \(a.jpg\).hoi\(2\).connection'):
        read_annotations(write_mat(tmp_path, connection=[(1, 1), (3, 1)]))
    with pytest.raises(
        AnnotationError, match=r'\(a.jpg\).hoi\(2\).id: an interaction id is not in 1-600'
    ):
        read_annotations(write_mat(tmp_path, interaction=601))
    other = tmp_path / 'other.mat'
    savemat(other, {'bbox_test': struct([{'name': 'a.jpg'}])})
    with pytest.raises(AnnotationError, match="'bbox_train' is missing"):
        read_annotations(str(other))
    with pytest.raises(AnnotationError, match='filename'):
        read_annotations(str(other), test_mode=True)


@pytest.mark.parametrize(
    ('key', 'value', 'kind', 'field'),
    [
        ('object', [0, 80, 0, 0], 'unknown object', 'object[1]'),
        ('verb', [-1, 0, 0, 0], 'unknown verb', 'verb[0]'),
        ('verb', [True, 0, 0, 0], 'unknown verb', 'verb[0]'),
        ('boxes_o', [[1, 2, 3, 4]] * 3 + [[1, 2, 'x', 4]], 'bad box', 'boxes_o[3]'),
    ],
)
def test_fault_that_does_not_stop_the_reading(key, value, kind, field, tmp_path):
    content = pair_lists()
    content['annotation'][0][key] = value
    content['filenames'][1] = None
    faults = []
    path = write_json(tmp_path, content)
    first, second = read_annotations(path, report=faults.append)
    where = f'{path}, annotation[0] (a.jpg).{field}'
    assert (faults[0].kind, faults[0].where) == (kind, where)
    assert (faults[1].kind, faults[1].where) == ('bad file name', f'{path}, annotation[1]')
    assert len(faults) == 2
    # the other pairs are there, and nothing stands for something that it is not
    assert len(first['hois']) == len(HOIS)
    assert int((first['hois'][:, 2] < 0).sum()) == (kind == 'unknown verb')
    assert int((first['labels'] < 0).sum()) == (kind == 'unknown object')
    assert int(np.isnan(first['boxes']).any(axis=1).sum()) == (kind == 'bad box')
    assert (second['file_name'], len(second['hois'])) == ('', 0)


def test_check_of_a_mat_file(tmp_path):
    path = write_mat(tmp_path, connection=[(1, 1), (3, 1)])
    report = HICODet.check(images=False, ann_file=path)
    errors = [(p.kind, p.where) for p in report.problems if p.is_error]
    assert errors == [('bad index', 'bbox_train(1) (a.jpg).hoi(2).connection')]
    assert report.counts['interactions'] == 2
    report = HICODet.check(images=False, ann_file=write_mat(tmp_path, [(1, 1), (2, 1)]))
    notes = [(p.kind, p.where) for p in report.problems]
    assert notes == [('image without interaction', 'bbox_train(2) (b.jpg)')]
    assert report.counts['interactions'] == 4


def test_pickles_give_what_json_gives(tmp_path):
    for content in ([entry()], pair_lists()):
        for suffix, protocol in (('.pkl', 4), ('.pickle', 2), ('.p', 0)):
            file = tmp_path / f'a{suffix}'
            file.write_bytes(pickle.dumps(content, protocol))
            assert triplets(read_annotations(str(file))[0]) == EXPECTED


def test_no_image_left(tmp_path):
    path = write_json(tmp_path, [entry('a.jpg', hois=[(0, 4, RIDE)])])
    with pytest.raises(AnnotationError, match='no image is left'):
        HICODet(ann_file=path)


def draw(sample):
    return int(sample['rng'].integers(2**60))


def test_generator_depends_on_seed_epoch_and_index_only(tmp_path):
    path = write_json(tmp_path, [entry(f'{i}.jpg') for i in range(3)])
    dataset = HICODet(ann_file=path, pipeline=[draw])
    drawn = {}
    for seed in (0, 5):
        dataset.set_seed(seed)
        for epoch in (0, 1):
            dataset.set_epoch(epoch)
            for i in range(3):
                drawn[seed, epoch, i] = dataset[i]
    assert len(set(drawn.values())) == len(drawn)
    other = HICODet(ann_file=path, pipeline=[draw])
    other.set_seed(5)
    other.set_epoch(1)
    assert (other.seed, other.epoch) == (5, 1)
    assert [other[i] for i in (2, 0)] == [drawn[5, 1, 2], drawn[5, 1, 0]]
