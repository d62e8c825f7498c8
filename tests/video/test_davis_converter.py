"""From the releases of DAVIS 2017 and its sentences to Ref-DAVIS17."""

import json
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger
from PIL import Image

from mmvl.cli.main import main
from mmvl.video.datasets import AnnotationError, RefDAVIS17, convert_ref_davis
from mmvl.video.datasets.davis import STREAMS
from mmvl.video.transforms import LoadClip

# video -> objects; ten and more objects are sorted as text
VIDEOS = {'bear': ['1'], 'motorbike': ['1', '2', '10'], 'dogs-scale': ['1', '2']}
SPLITS = {'train': ['bear'], 'val': ['motorbike', 'dogs-scale']}
MISSPELT = {'motorbike': 'motor-bike', 'dogs-scale': 'dog-scale'}


@pytest.fixture
def raw(disk, tmp_path):
    """The releases, unpacked."""
    root = tmp_path / 'raw'
    for video, objects in VIDEOS.items():
        for i in range(3):
            disk.write_frame(root / f'DAVIS/JPEGImages/480p/{video}/{i:05d}.jpg', 20 * i)
            ids = np.zeros(disk.SHAPE, np.uint8)
            for key in objects:
                ids[4 * int(key) : 4 * int(key) + 3, 5 : 20 + i] = int(key)
            disk.write_ids(root / f'DAVIS/Annotations_unsupervised/480p/{video}/{i:05d}.png', ids)
    for split, videos in SPLITS.items():
        file = root / f'DAVIS/ImageSets/2017/{split}.txt'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('\n'.join(videos) + '\n')
    semantics = {video: dict.fromkeys(objects, 'thing') for video, objects in VIDEOS.items()}
    disk.write_json(root / 'DAVIS/davis_semantics.json', semantics)
    (root / 'davis_text_annotations').mkdir()
    for stream, (name, encoding) in enumerate(STREAMS):
        lines = [
            f'{MISSPELT.get(video, video)} {key} "{video}  object {key} caf\xe9 {stream}"'
            for video, objects in VIDEOS.items()
            for key in objects[::-1]
        ]
        (root / 'davis_text_annotations' / name).write_bytes('\r\n'.join(lines).encode(encoding))
    return root


def read(out, split):
    file = out / f'meta_expressions/{split}/meta_expressions.json'
    return json.loads(file.read_text())['videos']


def test_streams_are_interleaved_for_each_object(raw, tmp_path):
    assert convert_ref_davis(raw, tmp_path / 'out') == {'train': 4, 'valid': 20}
    videos = read(tmp_path / 'out', 'valid')
    assert list(videos) == ['motorbike', 'dogs-scale']
    motorbike = videos['motorbike']
    assert motorbike['frames'] == ['00000', '00001', '00002']
    expected = [
        {'exp': f'motorbike object {key} caf\xe9 {stream}', 'obj_id': key}
        for key in ('1', '10', '2')
        for stream in range(4)
    ]
    assert list(motorbike['expressions'].values()) == expected
    assert list(motorbike['expressions']) == [str(i) for i in range(12)]
    meta = json.loads((tmp_path / 'out/valid/meta.json').read_text())['videos']
    assert meta['dogs-scale'] == {
        'objects': {'1': {'category': 'thing'}, '2': {'category': 'thing'}}
    }


@pytest.mark.parametrize('mode', ['link', 'copy'])
def test_the_result_is_a_dataset_and_the_releases_stay(raw, tmp_path, mode):
    before = sorted(path.relative_to(raw) for path in raw.rglob('*'))
    convert_ref_davis(raw, tmp_path / 'out', mode)
    assert sorted(path.relative_to(raw) for path in raw.rglob('*')) == before
    assert (tmp_path / 'out/valid/JPEGImages/motorbike').is_symlink() == (mode == 'link')
    data = RefDAVIS17(
        split='valid', data_root=str(tmp_path / 'out'), test_mode=True, pipeline=[LoadClip()]
    )
    assert len(data) == 20
    sample = data[5]
    assert (sample['exp_id'], sample['obj_id'], len(sample['imgs'])) == ('5', 10, 3)
    assert sample['boxes'].tolist() == [[5, 40, 19 + i, 42] for i in range(3)]
    assert sample['text'] == 'motorbike object 10 caf\xe9 1'
    assert Image.open(sample['mask_sources'][0]['path']).mode == 'P'


def test_nothing_is_overwritten(raw, tmp_path):
    (tmp_path / 'out/valid').mkdir(parents=True)
    with pytest.raises(FileExistsError, match='out/valid is there already'):
        convert_ref_davis(raw, tmp_path / 'out')
    assert not (tmp_path / 'out/train').exists()


def change(raw, name, old, new):
    file = raw / 'davis_text_annotations' / name
    file.write_bytes(file.read_bytes().replace(old, new, 1))


def test_malformed_line(raw, tmp_path):
    change(raw, 'Davis17_annot2.txt', b'bear 1', b'bear one')
    with pytest.raises(AnnotationError, match=r'annot2\.txt, line 1: expected: video object'):
        convert_ref_davis(raw, tmp_path / 'out')


def test_other_encoding(raw, tmp_path):
    change(raw, 'Davis17_annot1.txt', b'\xc3\xa9', b'\xe9')
    with pytest.raises(AnnotationError, match=r'annot1\.txt: not utf-8'):
        convert_ref_davis(raw, tmp_path / 'out')


def test_an_object_without_one_of_its_sentences(raw, tmp_path):
    change(raw, 'Davis17_annot1.txt', b'motor-bike 2', b'motor-bike 3')
    with pytest.raises(AnnotationError, match='motorbike: objects') as error:
        convert_ref_davis(raw, tmp_path / 'out')
    assert error.value.kind == 'unknown object'
    assert not (tmp_path / 'out').exists()


def test_in_train_it_is_only_said(raw, tmp_path, caplog):
    file = raw / 'davis_text_annotations/Davis17_annot2.txt'
    file.write_bytes(file.read_bytes() + b'\nbear 1 "once more"')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        assert convert_ref_davis(raw, tmp_path / 'out')['train'] == 4
    logger.removeHandler(caplog.handler)
    assert 'davis_text_annotations, bear: objects' in caplog.text


@pytest.mark.parametrize(
    'path',
    [
        'DAVIS/davis_semantics.json',
        'DAVIS/ImageSets/2017/val.txt',
        'davis_text_annotations/Davis17_annot1_full_video.txt',
    ],
)
def test_missing_file(raw, tmp_path, path):
    (raw / path).unlink()
    with pytest.raises(FileNotFoundError, match=path):
        convert_ref_davis(raw, tmp_path / 'out')


def test_missing_video(raw, tmp_path):
    (raw / 'DAVIS/JPEGImages/480p/bear').rename(raw / 'moved')
    with pytest.raises(FileNotFoundError, match=r'No such folder: .*480p/bear'):
        convert_ref_davis(raw, tmp_path / 'out')


def test_command(raw, tmp_path, capsys):
    assert main(['data', 'ref-davis', str(raw), str(tmp_path / 'out'), '--copy']) == 0
    assert 'train 4 sentences, valid 20 sentences' in capsys.readouterr().out
    assert not (tmp_path / 'out/valid/JPEGImages/motorbike').is_symlink()
    assert main(['data', 'ref-davis', str(raw), str(tmp_path / 'out')]) == 2
    assert 'out/train is there already' in capsys.readouterr().err
