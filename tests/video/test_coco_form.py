"""Lists and truths of A2D- and JHMDB-Sentences in COCO's form."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from mmvl.cli.main import main
from mmvl.structures.masks import MaskError
from mmvl.video.datasets import (
    A2DSentences,
    AnnotationError,
    a2d_single_frames,
    a2d_truth,
    jhmdb_truth,
)


def test_list_of_annotated_frames(disk, tmp_path):
    root = disk.write_a2d(tmp_path)
    disk.write_a2d_release(tmp_path)
    assert a2d_single_frames(root, 'test') == [
        ['left  man walks', 'vid-1', 5, 1],
        ['a dog, "rex"', 'vid-1', 5, 2],
        ['a dog, "rex"', 'vid-1', 9, 2],
    ]
    # the other video has no file of masks here
    assert a2d_single_frames(root, 'train') == []


def test_the_list_is_what_the_dataset_reads(disk, tmp_path):
    root = disk.write_a2d(tmp_path)
    disk.write_a2d_release(tmp_path)
    disk.write_json(tmp_path / 'made.json', a2d_single_frames(root, 'test'))
    data = A2DSentences(split='test', data_root=root, ann_file='made.json', test_mode=True)
    assert [data[i]['text'] for i in range(3)] == ['left man walks', *['a dog, "rex"'] * 2]


def test_malformed_list(disk, tmp_path):
    root = disk.write_a2d(tmp_path)
    disk.write_a2d_release(tmp_path)
    file = tmp_path / 'text_annotations/a2d_annotation.txt'
    file.write_text(file.read_text() + 'vid-1,one,a cat\n')
    with pytest.raises(AnnotationError, match=r'a2d_annotation\.txt, row 6'):
        a2d_single_frames(root, 'test')
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r'a2d_annotation\.txt'):
        a2d_single_frames(root, 'test')


def test_truth_of_a2d(disk, tmp_path):
    truth = json.loads(json.dumps(a2d_truth(data_root=disk.write_a2d(tmp_path))))
    assert sorted(truth) == ['annotations', 'categories', 'images']
    assert truth['categories'] == [{'id': 1, 'name': 'dummy_class'}]
    assert truth['images'] == [
        {'id': f'v_vid-1_f_{frame}_i_{instance}', 'height': 48, 'width': 64}
        for frame, instance in ((5, 1), (5, 2), (9, 2))
    ]
    code = truth['annotations'][1].pop('segmentation')
    np.testing.assert_array_equal(coco.decode(code), disk.a2d_mask(2, 5))
    assert isinstance(code['counts'], str)
    assert truth['annotations'][1] == {
        'id': 2,
        'image_id': 'v_vid-1_f_5_i_2',
        'category_id': 1,
        'area': 120.0,
        'bbox': [2.0, 4.0, 28.5, 36.0],
        'iscrowd': 0,
    }
    # an object alone in its file
    assert truth['annotations'][2]['bbox'] == [2.0, 4.0, 28.5, 36.0]
    np.testing.assert_array_equal(
        coco.decode(truth['annotations'][2]['segmentation']), disk.a2d_mask(2, 9)
    )


def test_truth_of_jhmdb(disk, tmp_path):
    truth = jhmdb_truth(data_root=disk.write_jhmdb(tmp_path))
    assert [image['id'] for image in truth['images']] == [
        f'v_{disk.JHMDB_VIDEO}_f_{frame}' for frame in (1, 3, 6)
    ]
    # rows 5 to 15 of the first frame, one more in each
    assert [each['area'] for each in truth['annotations']] == [230.0, 276.0, 345.0]
    assert [each['id'] for each in truth['annotations']] == [1, 2, 3]
    assert all('bbox' not in each for each in truth['annotations'])
    code = truth['annotations'][2]['segmentation']
    np.testing.assert_array_equal(coco.decode(code), disk.jhmdb_masks()[..., 5])


def test_pycocotools_reads_it(disk, tmp_path):
    disk.write_json(tmp_path / 'gt.json', a2d_truth(data_root=disk.write_a2d(tmp_path)))
    read = COCO(str(tmp_path / 'gt.json'))
    found = read.loadAnns(read.getAnnIds(imgIds=['v_vid-1_f_5_i_1']))
    assert [each['area'] for each in found] == [120.0]


def test_what_is_listed_twice_is_refused(disk, tmp_path):
    rows = [*disk.A2D_ROWS, ['another sentence', 'vid-1', 5, 1]]
    with pytest.raises(AnnotationError, match='row 3: v_vid-1_f_5_i_1 is listed twice'):
        a2d_truth(data_root=disk.write_a2d(tmp_path, rows))


def test_object_that_is_not_there(disk, tmp_path):
    with pytest.raises(MaskError, match=r'00009\.h5: object 1 is not in it; it has 2'):
        a2d_truth(data_root=disk.write_a2d(tmp_path, [['a', 'vid-1', 9, 1]]))


@pytest.mark.parametrize(('name', 'make'), [('a2d', a2d_truth), ('jhmdb', jhmdb_truth)])
def test_command(disk, tmp_path, capsys, name, make):
    root = getattr(disk, f'write_{name}')(tmp_path)
    assert main(['data', 'coco-form', name, root, str(tmp_path / 'out.json')]) == 0
    assert '3 annotated frames' in capsys.readouterr().out
    assert json.loads((tmp_path / 'out.json').read_text()) == make(data_root=root)
