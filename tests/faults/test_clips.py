"""Odd videos, from the files to the packed clip: F27."""

import json

import numpy as np
import pytest
from PIL import Image

from mmvl.structures.masks import MaskError
from mmvl.video import RefYouTubeVOS
from mmvl.video.transforms import ClipError

PIPELINE = [{'type': 'LoadClip'}, {'type': 'KeepVisible'}, {'type': 'PackClip'}]
FRAMES = ('00000', '00005', '00010')


@pytest.fixture
def video(tmp_path):
    """Write one video with one object, and load its only training clip."""
    expressions = {'0': {'exp': 'the square', 'obj_id': '1'}}

    def write(frames=FRAMES):
        ids = np.zeros((40, 60), np.uint8)
        ids[10:20, 5:15] = 1
        for folder in ('JPEGImages', 'Annotations'):
            (tmp_path / f'train/{folder}/aaa').mkdir(parents=True)
        for name in frames:
            Image.new('RGB', (60, 40)).save(tmp_path / f'train/JPEGImages/aaa/{name}.jpg')
            image = Image.fromarray(ids, mode='P')
            image.putpalette(list(range(256)) * 3)
            image.save(tmp_path / f'train/Annotations/aaa/{name}.png')
        said = {'videos': {'aaa': {'expressions': expressions, 'frames': list(frames)}}}
        meta = {'videos': {'aaa': {'objects': {'1': {'category': 'dog', 'frames': []}}}}}
        for path, content in (
            ('meta_expressions/train/meta_expressions.json', said),
            ('train/meta.json', meta),
        ):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(json.dumps(content))
        return tmp_path

    return write


def clip(root):
    dataset = RefYouTubeVOS(
        data_root=str(root), split='train', num_frames=3, pipeline=PIPELINE, published=False
    )
    return dataset[0]


def test_f27_missing_frame_is_named_before_training_starts(video):
    root = video()
    (root / 'train/JPEGImages/aaa/00005.jpg').unlink()
    with pytest.raises(FileNotFoundError, match=r'aaa/00005\.jpg'):
        clip(root)


def test_f27_video_of_one_frame_is_repeated(video):
    sample = clip(video(frames=('00000',)))
    assert sample['inputs'].shape == (3, 3, 40, 60)
    assert sample['data_samples'].gt_valid.all()
    assert sample['data_samples'].gt_boxes.tolist() == [[5, 10, 14, 19]] * 3


def test_f27_frame_of_another_size_is_named(video):
    root = video()
    for name in FRAMES[1:]:
        Image.new('RGB', (60, 41)).save(root / f'train/JPEGImages/aaa/{name}.jpg')
    with pytest.raises(ClipError, match=r'video aaa.* frame 000(05|10) has 60 x 41 pixels'):
        clip(root)


def test_f27_colours_of_the_palette_do_not_matter(video):
    root = video()
    for path in (root / 'train/Annotations/aaa').iterdir():
        with Image.open(path) as image:
            ids = np.array(image)
        Image.fromarray(ids, mode='L').save(path)
    assert clip(root)['data_samples'].gt_masks.sum(dim=(1, 2)).tolist() == [100] * 3


def test_f27_mask_of_colours_is_refused(video):
    root = video()
    for path in (root / 'train/Annotations/aaa').iterdir():
        with Image.open(path) as image:
            image.convert('RGB').save(path)
    with pytest.raises(MaskError, match=r'aaa/000\d\d\.png.*\n?.*colours \(mode RGB\)'):
        clip(root)
