"""A2D-Sentences and JHMDB-Sentences, of whose videos single frames are annotated."""

import numpy as np
import pytest
import scipy.io

import mmvl.video.transforms  # noqa: F401, registers them
from mmvl.structures.masks import MaskError
from mmvl.video.datasets import (
    A2DSentences,
    AnnotationError,
    JHMDBSentences,
)
from mmvl.video.decode import VideoError

LOAD = [{'type': 'LoadClip'}]
TRAIN = [*LOAD, {'type': 'KeepVisible'}, {'type': 'PackClip'}]


def test_a2d_test_windows(disk, tmp_path):
    data = A2DSentences(
        split='test', data_root=disk.write_a2d(tmp_path), test_mode=True, pipeline=LOAD
    )
    assert len(data) == 3
    sample = data[0]
    # frame 5 of the annotation is the one with index 4
    assert sample['frame_ids'] == [2, 3, 4, 5, 6]
    assert sample['frame_names'] == ('00003', '00004', '00005', '00006', '00007')
    assert sample['target'] == 2
    assert [round(img.mean() / 15) for img in sample['imgs']] == [2, 3, 4, 5, 6]
    assert sample['image_id'] == 'v_vid-1_f_5_i_1'
    assert sample['text'] == 'left man walks'
    np.testing.assert_array_equal(sample['masks'], disk.a2d_mask(1, 5)[None])
    assert sample['boxes'].tolist() == [[5, 4, 24, 9]]
    # the one object of a file without an axis of objects; the end of the video repeats
    last = A2DSentences(
        split='test', data_root=str(tmp_path), test_mode=True, pipeline=LOAD, num_frames=8
    )[2]
    assert last['frame_ids'] == [4, 5, 6, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(last['masks'], disk.a2d_mask(2, 9)[None])


def test_a2d_training_clips(disk, tmp_path):
    data = A2DSentences(split='train', data_root=disk.write_a2d(tmp_path, split='train'))
    chosen = set()
    for epoch in range(40):
        data.set_epoch(epoch)
        sample = data[0]
        assert sample['frame_ids'][sample['target']] == 4
        chosen.update(sample['frame_ids'])
    assert chosen == set(range(12))


def test_a2d_packs_the_annotated_frame(disk, tmp_path):
    data = A2DSentences(
        split='train', data_root=disk.write_a2d(tmp_path, split='train'), pipeline=TRAIN
    )
    packed = data[1]
    assert packed['inputs'].shape == (5, 3, 48, 64)
    sample = packed['data_samples']
    assert sample.gt_masks.shape == (1, 48, 64)
    assert sample.frame_names[sample.target] == '00005'


@pytest.mark.parametrize(
    ('row', 'said'),
    [
        (['a', 'vid-1', 5], 'row 0: expected'),
        (['a', 'vid-1', '5', 1], 'row 0: expected int'),
        (['a', 'vid-1', 0, 1], 'count from 1'),
        (['a', '../vid-1', 5, 1], 'expected a name'),
        ([' ', 'vid-1', 5, 1], 'without a word'),
    ],
)
def test_a2d_malformed_rows(disk, tmp_path, row, said):
    root = disk.write_a2d(tmp_path, [row])
    with pytest.raises(AnnotationError, match=said):
        A2DSentences(split='test', data_root=root)


def test_a2d_object_or_frame_that_is_not_there(disk, tmp_path):
    rows = [['a', 'vid-1', 5, 7], ['a', 'vid-1', 9, 1]]
    root = disk.write_a2d(tmp_path, rows, length=8)
    data = A2DSentences(split='test', data_root=root, test_mode=True, pipeline=LOAD)
    with pytest.raises(
        MaskError, match=r'sentence 0: .*00005\.h5: object 7 is not in it; it has 1'
    ):
        data[0]
    with pytest.raises(VideoError, match=r'row 1: frame 9 is annotated, but .* has 8 frames') as e:
        data[1]
    assert e.value.kind == 'missing frame'


@pytest.mark.parametrize(
    ('content', 'said'), [(b'abc', 'not HDF5'), (None, 'files of frames are missing')]
)
def test_a2d_bad_mask_files(disk, tmp_path, content, said):
    root = disk.write_a2d(tmp_path)
    file = tmp_path / 'text_annotations/a2d_annotation_with_instances/vid-1/00005.h5'
    file.unlink()
    if content:
        file.write_bytes(content)
    with pytest.raises((MaskError, FileNotFoundError), match=said):
        A2DSentences(split='test', data_root=root, test_mode=True, pipeline=LOAD)[0]


def test_jhmdb(disk, tmp_path):
    data = JHMDBSentences(data_root=disk.write_jhmdb(tmp_path), pipeline=LOAD)
    assert len(data) == 3
    windows = [data[i]['frame_names'] for i in range(3)]
    assert windows[0] == ('00001', '00001', '00001', '00002', '00003')
    assert windows[2] == ('00004', '00005', '00006', '00006', '00006')
    # the first place of a frame that repeats
    assert [data[i]['target'] for i in range(3)] == [0, 2, 2]
    sample = data[1]
    assert [img[0, 0, 0] for img in sample['imgs']] == [10, 20, 30, 40, 50]
    assert sample['image_id'] == f'v_{disk.JHMDB_VIDEO}_f_3'
    assert sample['text'] == 'man claps'
    np.testing.assert_array_equal(sample['masks'][0], disk.jhmdb_masks()[..., 2])


@pytest.mark.parametrize(('content', 'said'), [(b'abc', 'damaged'), ('short', 'no frame 3')])
def test_jhmdb_bad_masks(disk, tmp_path, content, said):
    root = disk.write_jhmdb(tmp_path)
    file = tmp_path / f'puppet_mask/clap/{disk.JHMDB_VIDEO}/puppet_mask.mat'
    if content == 'short':
        scipy.io.savemat(file, {'part_mask': disk.jhmdb_masks()[..., :2]})
    else:
        file.write_bytes(content)
    with pytest.raises(MaskError, match=said):
        JHMDBSentences(data_root=root, pipeline=LOAD)[1]
