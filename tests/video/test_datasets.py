"""Videos in folders of frames, images as clips, and what a check of all of them finds."""

import json
import logging

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset
from mmengine.logging import MMLogger

import mmvl.video.transforms  # noqa: F401, registers them
from mmvl.registry import DATASETS
from mmvl.video.datasets import (
    A2DSentences,
    AnnotationError,
    JHMDBSentences,
    PseudoClip,
    RefDAVIS17,
    RefYouTubeVOS,
)
from mmvl.video.datasets.sampling import centred_window, training_clip

LOAD = [{'type': 'LoadClip'}]
TRAIN = [*LOAD, {'type': 'KeepVisible'}, {'type': 'PackClip'}]


@pytest.fixture
def log(caplog):
    """The log as text, which MMEngine's logger does not hand on by itself."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def ytvos(root, split='train', **kwargs):
    return RefYouTubeVOS(split=split, data_root=root, published=False, **kwargs)


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize('length', [1, 2, 3, 4, 6, 9, 40])
@pytest.mark.parametrize('num_frames', [1, 3, 5, 6, 8])
def test_training_clip(length, num_frames):
    rng = np.random.default_rng(0)
    for centre in range(length):
        chosen = training_clip(length, centre, num_frames, rng)
        assert len(chosen) == num_frames
        assert chosen == sorted(chosen)
        assert centre in chosen
        assert 0 <= chosen[0] <= chosen[-1] < length
        if num_frames > 1:
            near = [i for i in chosen if abs(i - centre) <= 3]
            assert len(near) >= min(3, num_frames)


def test_training_clip_covers_the_video():
    rng = np.random.default_rng(0)
    drawn = [training_clip(30, 12, 5, rng) for _ in range(500)]
    assert {i for clip in drawn for i in clip} == set(range(30))
    # two of five come from outside of the near span, its last frame counted as outside
    for clip in drawn:
        inside = [i for i in clip if 9 <= i <= 15]
        assert len(inside) >= 3
        assert len(clip) - len(set(clip)) <= 1


def test_short_videos_repeat():
    assert training_clip(1, 0, 8, np.random.default_rng(0)) == [0] * 8
    counts = np.bincount(training_clip(3, 1, 9, np.random.default_rng(0)))
    # 0, 1 and 2 near, and each twice more
    assert counts.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ('centre', 'num_frames', 'expected'),
    [
        (5, 5, [3, 4, 5, 6, 7]),
        (5, 6, [2, 3, 4, 5, 6, 7]),
        (1, 5, [1, 1, 1, 2, 3]),
        (10, 6, [7, 8, 9, 10, 10, 10]),
        (4, 1, [4]),
    ],
)
def test_centred_window(centre, num_frames, expected):
    assert centred_window(centre, num_frames, 1, 10) == expected


# ---------------------------------------------------------------- Ref-YouTube-VOS


def test_training_samples(disk, tmp_path):
    data = ytvos(disk.write_ytvos(tmp_path), num_frames=5)
    # 2 videos, 2 sentences, frames 0, 5 and 10 of 12
    assert len(data) == 12
    sample = data[4]
    names, sources = sample['frame_names'], sample['mask_sources']
    assert sample['centre'] == 5
    assert '00025' in names
    assert list(names) == sorted(names)
    folder = f'{tmp_path}/train'
    assert sample['img_paths'] == [f'{folder}/JPEGImages/aaa/{name}.jpg' for name in names]
    assert [source['path'] for source in sources] == [
        f'{folder}/Annotations/aaa/{name}.png' for name in names
    ]
    assert {source['obj_id'] for source in sources} == {2}
    common = ('video_id', 'exp_id', 'obj_id', 'text', 'dataset', 'split', 'target', 'image_id')
    expected = ('aaa', '1', 2, 'a square that goes', 'ref-youtube-vos', 'train', None, '')
    assert tuple(sample[key] for key in common) == expected
    assert data[0]['text'] == 'the left square'


def test_test_mode_gives_sentences_as_they_are_written(disk, tmp_path):
    data = ytvos(disk.write_ytvos(tmp_path), test_mode=True)
    assert data[0]['text'] == '  The LEFT\tsquare '


def test_a_sample_depends_on_seed_epoch_and_index_alone(disk, tmp_path):
    root = disk.write_ytvos(tmp_path)

    def names(seed=0, epoch=0, order=range(12)):
        data = ytvos(root)
        data.set_seed(seed)
        data.set_epoch(epoch)
        clips = {i: data[i]['frame_names'] for i in order}
        return [clips[i] for i in range(12)]

    assert names() == names(order=range(11, -1, -1))
    assert names() != names(seed=1)
    assert names() != names(epoch=1)
    assert names(seed=1) != names(epoch=1)


def test_training_through_the_pipeline(disk, tmp_path):
    data = ytvos(disk.write_ytvos(tmp_path), pipeline=TRAIN)
    sample = data[0]['data_samples']
    assert sample.gt_valid.all()
    steps = [int(name) // 5 for name in sample.frame_names]
    assert sample.gt_boxes.tolist() == [[5 + s, 10, 14 + s, 19] for s in steps]


def test_in_test_mode_there_is_one_sample_per_sentence(disk, tmp_path):
    data = ytvos(disk.write_ytvos(tmp_path), test_mode=True, pipeline=LOAD)
    assert [(data[i]['video_id'], data[i]['exp_id']) for i in range(4)] == [
        ('aaa', '0'), ('aaa', '1'), ('bbb', '0'), ('bbb', '1')
    ]  # fmt: skip
    sample = data[1]
    assert sample['frame_names'] == tuple(disk.YTVOS_FRAMES)
    assert sample['valid'].tolist() == [True] * 4 + [False] * 8


def test_frames_are_those_of_the_list(disk, tmp_path):
    root = disk.write_ytvos(tmp_path)
    disk.write_frame(tmp_path / 'train/JPEGImages/aaa/00001.jpg')
    assert ytvos(root, test_mode=True)[0]['frame_names'] == tuple(disk.YTVOS_FRAMES)


def test_valid_is_what_is_not_in_test(disk, tmp_path):
    disk.write_ytvos(tmp_path, 'valid', ('aaa', 'bbb', 'ccc'))
    root = disk.write_ytvos(tmp_path, 'test', ('bbb',))
    data = ytvos(root, 'valid', test_mode=True, pipeline=LOAD)
    assert [data[i]['video_id'] for i in range(len(data))] == ['aaa', 'aaa', 'ccc', 'ccc']
    assert data[0]['obj_id'] == -1
    assert 'mask_sources' not in data[0]


def test_valid_needs_the_published_number_of_videos(disk, tmp_path):
    disk.write_ytvos(tmp_path, 'valid', ('aaa', 'bbb', 'ccc'))
    root = disk.write_ytvos(tmp_path, 'test', ('bbb',))
    with pytest.raises(AnnotationError, match='2 videos in valid, but 202 were published'):
        RefYouTubeVOS(split='valid', data_root=root, test_mode=True)


def test_valid_needs_the_list_of_test(disk, tmp_path):
    root = disk.write_ytvos(tmp_path, 'valid')
    with pytest.raises(FileNotFoundError, match=r'test/meta_expressions\.json'):
        ytvos(root, 'valid', test_mode=True)


def test_secret_objects_cannot_be_trained_on(disk, tmp_path):
    disk.write_ytvos(tmp_path, 'test')
    with pytest.raises(AnnotationError, match=r'videos\.aaa\.expressions\.0: it has no obj_id'):
        ytvos(str(tmp_path), 'test')


GOOD = {'expressions': {'0': {'exp': 'a', 'obj_id': '1'}}, 'frames': ['00000']}


@pytest.mark.parametrize(
    ('video', 'kind', 'said'),
    [
        ({**GOOD, 'frames': []}, 'zero frames', r'videos\.bad: a video without frames'),
        ({**GOOD, 'frames': ['../../a']}, 'bad file name', 'expected a name'),
        ({'frames': ['0']}, 'malformed entry', "key 'expressions' is missing"),
        ({**GOOD, 'expressions': {'0': {'exp': ' \t', 'obj_id': '1'}}}, 'empty sentence', 'word'),
        ({**GOOD, 'expressions': {'0': {'exp': 7, 'obj_id': '1'}}}, 'malformed entry', 'str'),
        ({**GOOD, 'expressions': {'0': {'exp': 'a', 'obj_id': 1}}}, 'malformed entry', 'obj_id'),
        ({**GOOD, 'expressions': {'0': {'exp': 'a', 'obj_id': '-1'}}}, 'malformed entry', '255'),
    ],
)
def test_malformed_entries_are_refused_by_name(disk, tmp_path, video, kind, said):
    root = disk.write_ytvos(tmp_path, bad=video)
    with pytest.raises(AnnotationError, match=said) as error:
        ytvos(root)
    assert error.value.kind == kind
    assert 'videos.bad' in str(error.value)


def test_object_that_meta_json_does_not_know(disk, tmp_path):
    root = disk.write_ytvos(tmp_path)
    file = tmp_path / 'train/meta.json'
    meta = json.loads(file.read_text())
    del meta['videos']['bbb']['objects']['2']
    file.write_text(json.dumps(meta))
    with pytest.raises(AnnotationError, match=r'bbb\.expressions\.1\.obj_id: object 2 is not in'):
        ytvos(root)


@pytest.mark.parametrize('content', ['', '{"videos":', '[]', '{"other": 1}'])
def test_damaged_annotation(disk, tmp_path, content):
    root = disk.write_ytvos(tmp_path)
    (tmp_path / 'meta_expressions/train/meta_expressions.json').write_text(content)
    with pytest.raises(AnnotationError, match=r'meta_expressions\.json'):
        ytvos(root)


@pytest.mark.parametrize('kind', ['JPEGImages/bbb/00025.jpg', 'Annotations/bbb/00025.png'])
def test_missing_frame_is_named_when_the_dataset_is_built(disk, tmp_path, kind):
    root = disk.write_ytvos(tmp_path)
    (tmp_path / 'train' / kind).unlink()
    with pytest.raises(FileNotFoundError, match=f'1 of 48 files of frames are missing: .*{kind}'):
        ytvos(root, pipeline=LOAD)


def test_an_object_that_is_not_to_be_seen_gives_way_to_another(disk, tmp_path, log):
    root = disk.write_ytvos(tmp_path)
    for name in disk.YTVOS_FRAMES:
        disk.write_ids(tmp_path / f'train/Annotations/aaa/{name}.png', disk.squares(4))
    data = ytvos(root, pipeline=TRAIN)
    with log.at_level(logging.WARNING):
        taken = [data[i]['data_samples'] for i in (3, 4, 5)]
    assert all(sample.gt_valid.any() for sample in taken)
    assert {(sample.video_id, sample.exp_id) for sample in taken}.isdisjoint({('aaa', '1')})
    said = [record.message for record in log.records if 'no frame of the clip' in record.message]
    assert len(said) == 1
    assert 'videos.aaa.expressions.1' in said[0]
    # the same one again
    again = ytvos(root, pipeline=TRAIN)
    assert [s.exp_id for s in taken] == [again[i]['data_samples'].exp_id for i in (3, 4, 5)]


def test_nothing_to_be_seen_anywhere_ends_the_search(disk, tmp_path):
    root = disk.write_ytvos(tmp_path, videos=('aaa',))
    for name in disk.YTVOS_FRAMES:
        disk.write_ids(tmp_path / f'train/Annotations/aaa/{name}.png', np.zeros(disk.SHAPE))
    with pytest.raises(AnnotationError, match='100 samples in a row') as error:
        ytvos(root, pipeline=TRAIN)[0]
    assert error.value.kind == 'never visible'


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda: RefYouTubeVOS(split='val'), 'train, valid, test'),
        (lambda: RefDAVIS17(split='val'), 'train, valid'),
        (lambda: A2DSentences(split='valid'), 'train, test'),
        (lambda: JHMDBSentences(test_mode=False), 'no split to train on'),
        (lambda: RefYouTubeVOS(split='train', num_frames=0), 'num_frames must be at least 1'),
    ],
)
def test_impossible_options(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# ---------------------------------------------------------------- images as clips


def write_refcoco(disk, root):
    """Two images in MDETR's form of RefCOCO, of which the second has a polygon outside of it."""
    disk.write_frame(root / 'train2014/1.jpg', 90)
    disk.write_frame(root / 'train2014/2.jpg', 90)
    images, annotations = [], []
    for i, (x, y) in enumerate([(8, 10), (20, 12)], 1):
        images.append({
            'id': i, 'file_name': f'{i}.jpg', 'height': 48, 'width': 64, 'original_id': i,
            'caption': 'the left One', 'dataset_name': 'refcoco', 'tokens_negative': [],
        })  # fmt: skip
        corners = [x, y, x + 12, y, x + 12, y + 9, x, y + 9]
        annotations.append({
            'id': i, 'image_id': i, 'bbox': [x, y, 12.5, 9], 'segmentation': [corners],
            'original_id': i, 'tokens_positive': [], 'area': 1, 'iscrowd': 0, 'category_id': 1,
        })  # fmt: skip
    content = {'images': images, 'annotations': annotations}
    disk.write_json(root / 'finetune_refcoco_train.json', content)
    return {
        'type': 'MDETRRefCOCO',
        'split': 'train',
        'ann_file': str(root / 'finetune_refcoco_train.json'),
        'data_prefix': {'img': str(root / 'train2014')},
    }


def test_images_as_clips_of_one_frame(disk, tmp_path):
    config = {'type': 'PseudoClip', 'dataset': write_refcoco(disk, tmp_path), 'pipeline': TRAIN}
    data = DATASETS.build(config)
    assert len(data) == 2
    packed = data[0]
    sample = packed['data_samples']
    assert packed['inputs'].shape == (1, 3, 48, 64)
    # the annotated box, not that of the mask
    assert sample.gt_boxes.tolist() == [[8, 10, 20.5, 19]]
    assert sample.gt_masks.sum() == 12 * 9
    assert sample.text == 'the left One'
    assert (sample.dataset, sample.split, sample.target) == ('refcoco', 'train', None)


def test_images_as_clips_of_more_frames(disk, tmp_path):
    steps = [*LOAD, {'type': 'ImageToClip', 'num_frames': 4}, *TRAIN[1:]]
    data = PseudoClip(write_refcoco(disk, tmp_path), pipeline=steps)
    packed = data[1]
    assert packed['inputs'].shape == (4, 3, 48, 64)
    assert packed['data_samples'].gt_masks.shape == (4, 48, 64)
    data.dataset.set_epoch(1)
    assert not np.array_equal(data[1]['inputs'], packed['inputs'])
    data.dataset.set_epoch(0)
    assert np.array_equal(data[1]['inputs'], packed['inputs'])


def test_images_and_videos_in_one_dataset(disk, tmp_path):
    images = write_refcoco(disk, tmp_path)
    root = disk.write_ytvos(tmp_path)
    data = ConcatDataset([
        {'type': 'mmvl.PseudoClip', 'dataset': images, 'pipeline': TRAIN},
        {'type': 'mmvl.RefYouTubeVOS', 'split': 'train', 'data_root': root, 'published': False,
         'pipeline': TRAIN},
    ])  # fmt: skip
    assert len(data) == 2 + 12
    assert [data[i]['data_samples'].dataset for i in (1, 2)] == ['refcoco', 'ref-youtube-vos']


def test_image_that_shows_nothing_gives_way(disk, tmp_path, log):
    def hide_first(results):
        if results['video_id'] == '1':
            results['boxes'] = results['boxes'] * 0
        return results

    data = PseudoClip(write_refcoco(disk, tmp_path), pipeline=[*LOAD, hide_first, *TRAIN[1:]])
    assert data[0]['data_samples'].video_id == '2'
    assert 'no frame of the clip' in log.text


# ---------------------------------------------------------------- check


def kinds(report, errors=True):
    return sorted({p.kind for p in report.problems if p.is_error == errors})


def test_check_of_a_sound_dataset(disk, tmp_path):
    report = RefYouTubeVOS.check(split='train', data_root=disk.write_ytvos(tmp_path))
    assert report.counts == {'sentences': 4, 'videos': 2, 'objects': 4}
    assert kinds(report) == []
    assert kinds(report, errors=False) == ['not as published']


def test_check_lists_everything(disk, tmp_path):
    root = disk.write_ytvos(tmp_path, videos=('aaa', 'bbb', 'ccc'), bad={**GOOD, 'frames': []})
    folder = tmp_path / 'train'
    for name in disk.YTVOS_FRAMES:
        disk.write_ids(folder / f'Annotations/aaa/{name}.png', disk.squares(5))
    disk.write_ids(folder / 'Annotations/bbb/00000.png', disk.squares(0) * 3)
    disk.write_frame(folder / 'JPEGImages/bbb/00010.jpg', shape=(48, 60))
    (folder / 'Annotations/bbb/00005.png').write_bytes(b'abc')
    (folder / 'JPEGImages/bbb/00030.jpg').write_bytes(b'abc')
    (folder / 'JPEGImages/ccc/00055.jpg').unlink()
    report = RefYouTubeVOS.check(split='train', data_root=root)
    assert kinds(report) == [
        'bad mask', 'damaged image', 'missing file', 'never visible', 'other frame size',
        'other mask size', 'zero frames',
    ]  # fmt: skip
    assert kinds(report, errors=False) == ['not as published', 'unknown ids in a mask']
    never = [p.where for p in report.problems if p.kind == 'never visible']
    assert never == ['videos.aaa.expressions.1']
    unknown = [p.detail for p in report.problems if p.kind == 'unknown ids in a mask']
    assert unknown == ['no sentence is about 3, 6']
    assert kinds(RefYouTubeVOS.check(split='train', data_root=root, images=False)) == [
        'zero frames'
    ]


def test_check_of_a2d(disk, tmp_path):
    rows = [*disk.A2D_ROWS, ['a', 'vid-1', 5, 9], ['a', 'vid-1', 9, 2], ['a', 'vid-2', 5, 1]]
    root = disk.write_a2d(tmp_path, rows, length=8)
    report = A2DSentences.check(split='test', data_root=root)
    assert kinds(report) == ['bad mask', 'missing file', 'missing frame', 'never visible']
    assert {p.where for p in report.problems if p.kind == 'missing frame'} == {'row 2', 'row 4'}
    (tmp_path / 'Release/clips320H/vid-1.mp4').write_bytes(b'abc')
    assert 'damaged video' in kinds(A2DSentences.check(split='test', data_root=root))


def test_check_of_jhmdb(disk, tmp_path):
    report = JHMDBSentences.check(data_root=disk.write_jhmdb(tmp_path))
    assert kinds(report) == []
    assert report.counts == {'sentences': 3, 'videos': 1, 'objects': 1}


def test_check_of_what_cannot_be_read(disk, tmp_path):
    report = A2DSentences.check(split='test', data_root=str(tmp_path))
    assert kinds(report) == ['missing annotation']
