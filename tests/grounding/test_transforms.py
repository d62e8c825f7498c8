"""Transforms of image, sentence, box and mask."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmvl.engine.images import ImageError
from mmvl.grounding import transforms
from mmvl.grounding.transforms import flip
from mmvl.registry import TRANSFORMS
from mmvl.structures.masks import MaskError

BOX = [10.5, 5.0, 30.0, 25.0]


def sample(box=BOX, height=30, width=40, text='the left dog', seed=0):
    """An image whose mask is the box, as far as whole pixels go."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    x1, y1, x2, y2 = np.round(box).astype(int)
    mask[y1:y2, x1:x2] = 1
    return {
        'img': rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        'img_shape': (height, width),
        'ori_shape': (height, width),
        'box': np.array(box, np.float32),
        'ori_box': np.array(box, np.float32),
        'mask': mask,
        'ori_mask': mask,
        'text': text,
        'rng': rng,
    }


class Scripted:
    """Stands for a generator whose draws are known."""

    def __init__(self, *draws):
        self.draws = list(draws)

    def random(self):
        return self.draws.pop(0)

    def integers(self, *_, **__):
        return self.draws.pop(0)


def on_disk(folder, array, **extra):
    Image.fromarray(array).save(folder / 'a.png')
    return {
        'img_path': str(folder / 'a.png'),
        'sent_id': 7,
        'text': 'a dog',
        'box': np.array([1, 1, 4, 3], np.float32),
        'segmentation': [[1, 1, 4, 1, 4, 3, 1, 3]],
        **extra,
    }


def load(entry, **options):
    return transforms.LoadReferringImage(**options)(entry)


def test_load_keeps_the_annotation(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    results = load(on_disk(tmp_path, array))
    np.testing.assert_array_equal(results['img'], array)
    assert results['ori_shape'] == results['img_shape'] == (6, 9)
    expected = np.zeros((6, 9), np.uint8)
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(results['mask'], expected)
    assert results['mask'].dtype == np.uint8
    flip(results)
    assert results['ori_box'].tolist() == [1, 1, 4, 3]
    np.testing.assert_array_equal(results['ori_mask'], expected)


def test_load_without_masks_or_annotation(tmp_path):
    entry = on_disk(tmp_path, np.zeros((6, 9, 3), np.uint8), segmentation=None)
    assert 'mask' not in load(dict(entry), with_mask=False)
    bare = {key: entry[key] for key in ('img_path', 'text')}
    packed = transforms.PackReferringInputs()(load(bare))
    assert packed['inputs'].shape == (3, 6, 9)
    assert 'gt_box' not in packed['data_samples']
    with pytest.raises(MaskError, match=r'a\.png, sentence 7: there is no segmentation'):
        load(entry)


def test_grey_and_16_bit_images(tmp_path):
    deep = np.arange(54, dtype=np.uint16).reshape(6, 9) * 1000
    np.testing.assert_array_equal(
        load(on_disk(tmp_path, deep))['img'], np.repeat((deep >> 8)[..., None], 3, axis=2)
    )
    grey = np.arange(54, dtype=np.uint8).reshape(6, 9)
    np.testing.assert_array_equal(
        load(on_disk(tmp_path, grey))['img'], np.repeat(grey[..., None], 3, axis=2)
    )


def test_load_refuses_and_says_where(tmp_path):
    array = np.zeros((6, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=r'a\.png, sentence 7 is empty'):
        load(on_disk(tmp_path, array, text=' \n'))
    code = {'size': [480, 640], 'counts': [480 * 640]}
    with pytest.raises(MaskError, match=r'a\.png, sentence 7: the mask is \(480, 640\)'):
        load(on_disk(tmp_path, array, segmentation=code))
    with pytest.raises(MaskError, match=r'a\.png, sentence 7: a polygon .* leaves the image'):
        load(on_disk(tmp_path, array, segmentation=[[0, 0, 300, 0, 300, 200]]))
    with pytest.raises(FileNotFoundError, match='data_prefix'):
        load({'img_path': str(tmp_path / 'none.png'), 'text': 'a dog'})
    (tmp_path / 'b.png').write_bytes(b'no image')
    with pytest.raises(ImageError, match=r'b\.png'):
        load({'img_path': str(tmp_path / 'b.png'), 'text': 'a dog'})


@pytest.mark.parametrize(
    ('shape', 'size', 'expected'),
    [((30, 40), 80, (60, 80)), ((40, 30), 20, (20, 15)), ((33, 100), 50, (16, 50))],
)
def test_long_side(shape, size, expected):
    results = transforms.ResizeLongSide([size])(sample(height=shape[0], width=shape[1]))
    assert results['img'].shape == (*expected, 3)
    assert results['mask'].shape == results['img_shape'] == expected
    y, x = expected[0] / shape[0], expected[1] / shape[1]
    np.testing.assert_allclose(results['box'], np.array(BOX) * [x, y, x, y], rtol=1e-6)


@pytest.mark.parametrize('shape', [(1, 1), (1, 900), (900, 1)])
def test_images_of_a_pixel_and_of_a_line(shape):
    results = sample([0, 0, shape[1], shape[0]], *shape)
    for step in (transforms.ResizeLongSide([448]), transforms.PadToSquare(448)):
        results = step(results)
    packed = transforms.PackReferringInputs(original_mask=True)(results)
    assert max(packed['inputs'].shape) == 448 and min(packed['inputs'].shape) >= 1
    inside = packed['data_samples'].gt_mask.sum()
    assert inside == packed['inputs'].shape[1] * packed['inputs'].shape[2]


def test_masks_are_resized_to_the_nearest_pixel():
    results = transforms.ResizeLongSide([80])(sample([10, 5, 30, 25]))
    expected = np.zeros((60, 80), np.uint8)
    expected[10:50, 20:60] = 1
    np.testing.assert_array_equal(results['mask'], expected)


def test_images_are_resized_with_antialiasing():
    stripes = np.tile(np.array([0, 255], np.uint8)[None, :, None], (40, 20, 3))
    results = transforms.ResizeLongSide([10])({'img': stripes, 'text': ''})
    assert np.abs(results['img'][:, 1:-1].astype(int) - 127).max() < 20


SIZES = tuple(range(320, 577, 32))


@pytest.mark.parametrize(
    ('text', 'box', 'expected'),
    [
        ('a dog', BOX, 576),
        ('the left dog', BOX, 448),
        ('a bright dog', BOX, 448),  # as published: "right" is in it
        ('a dog', [0, 0, 40, 10], 448),  # the whole width would not fit into a crop
    ],
)
def test_direction_words_and_large_boxes_cap_the_size(text, box, expected):
    step = transforms.ResizeLongSide(SIZES, cap_with_direction=448)
    results = sample(box, text=text)
    results['rng'] = Scripted(len(SIZES) - 1)
    assert max(step(results)['img'].shape) == expected
    results = sample(box, text=text)
    results['rng'] = Scripted(0)
    assert max(step(results)['img'].shape) == 320


def test_every_size_is_drawn():
    step = transforms.ResizeLongSide(SIZES)
    seen = {max(step(sample(text='a dog', seed=seed))['img'].shape) for seed in range(120)}
    assert seen == set(SIZES)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_published_training_keeps_the_box_whole(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 90, 2).tolist()
    x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
    results = sample([x[0], y[0], x[1], y[1]], height, width, 'a dog', seed)
    step = transforms.ResizeLongSide(range(32, 58, 3), cap_with_direction=45)
    resized = step(results)
    box = resized['box'].copy()
    cropped = transforms.RandomCropAroundBox(45)(resized)
    rows, columns = cropped['img_shape']
    assert cropped['img'].shape[:2] == cropped['mask'].shape == (rows, columns)
    assert max(rows, columns) <= 45
    assert (cropped['box'] >= 0).all() and (cropped['box'] <= [columns, rows] * 2).all()
    # less than a pixel may be lost where a box fills the window
    np.testing.assert_allclose(
        cropped['box'][2:] - cropped['box'][:2], box[2:] - box[:2], atol=1, rtol=0
    )


def test_crop_moves_everything_alike():
    results = sample([20, 8, 30, 20], text='a dog')
    before = results['img'].copy()
    results['rng'] = Scripted(15, 2)
    results = transforms.RandomCropAroundBox(20)(results)
    assert results['box'].tolist() == [5, 6, 15, 18]
    np.testing.assert_array_equal(results['img'], before[2:22, 15:35])
    rows, columns = np.nonzero(results['mask'])
    assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == [5, 6, 15, 18]


@pytest.mark.parametrize(('size', 'text'), [(40, 'a dog'), (20, 'the left dog')])
def test_no_crop_of_what_fits_or_has_a_direction(size, text):
    results = sample(text=text)
    results['rng'] = Scripted()
    assert transforms.RandomCropAroundBox(size)(results)['img'].shape == (30, 40, 3)


def test_a_box_that_does_not_fit_the_crop():
    with pytest.raises(ValueError, match='cap_with_direction=20'):
        transforms.RandomCropAroundBox(20)(sample([1, 1, 39, 10], text='a dog'))


def test_flip_by_hand():
    results = sample(text='the dog left of the right lamp')
    before = results['img'].copy()
    flip(results)
    assert results['box'].tolist() == [10, 5, 29.5, 25]
    assert results['text'] == 'the dog right of the left lamp'
    np.testing.assert_array_equal(results['img'], before[:, ::-1])
    np.testing.assert_array_equal(results['mask'], results['ori_mask'][:, ::-1])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(0, 80)] * 4),
    st.lists(st.sampled_from(['left', 'leftmost', 'bright', 'dog', 'right', 'of'])),
)
def test_flip_twice_changes_nothing(quarters, words):
    box = np.sort(np.array(quarters, np.float32).reshape(2, 2), 0).reshape(4) / 4
    results, once = sample(box, text=' '.join(words)), sample(box, text=' '.join(words))
    for _ in range(2):
        flip(results)
    for name in ('img', 'box', 'mask'):
        np.testing.assert_array_equal(results[name], once[name])
    assert results['text'] == once['text']


def test_flip_happens_with_its_probability():
    step = transforms.RandomFlipReferring(prob=0.3)
    for draw, flipped in ((0.29, True), (0.31, False)):
        results = sample()
        results['rng'] = Scripted(draw)
        assert (step(results)['text'] == 'the right dog') is flipped


def test_flip_without_annotation():
    results = {'img': np.arange(12, dtype=np.uint8).reshape(1, 4, 3), 'text': 'left'}
    flip(results)
    assert results['img'][0, 0].tolist() == [9, 10, 11] and results['text'] == 'right'


def test_pad_in_the_centre():
    results = sample()
    before = results['img'].copy()
    results = transforms.PadToSquare(51)(results)
    assert results['pad_offset'] == (10, 5) and results['square'] == 51
    assert results['box'].tolist() == [15.5, 15, 35, 35]
    np.testing.assert_array_equal(results['img'], before)
    assert results['mask'].shape == (51, 51)
    np.testing.assert_array_equal(results['mask'][10:40, 5:45], results['ori_mask'])
    assert results['mask'].sum() == results['ori_mask'].sum()


def test_pad_at_random_reaches_every_place():
    step = transforms.PadToSquare(42, mode='random')
    places = {step(sample(seed=seed))['pad_offset'] for seed in range(300)}
    assert places == {(top, left) for top in range(13) for left in range(3)}


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_a_box_of_the_square_leads_back_to_the_image(height, width, seed):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
    box = [x[0], y[0], x[1], y[1]]
    results = sample(box, height, width, seed=seed)
    for step in (transforms.ResizeLongSide([64]), transforms.PadToSquare(64, mode='random')):
        results = step(results)
    top, left = results['pad_offset']
    rows, columns = results['img_shape']
    back = (results['box'] - [left, top, left, top]) * ([width / columns, height / rows] * 2)
    np.testing.assert_allclose(back, box, atol=1e-4 * max(height, width))


def test_pad_refuses_a_larger_image():
    with pytest.raises(ValueError, match='40 x 30 does not fit a square of 39'):
        transforms.PadToSquare(39)(sample())


def test_a_box_without_area_stays_finite():
    results = sample([12, 7, 12, 7])
    for config in (
        {'type': 'ResizeLongSide', 'sizes': [96]},
        {'type': 'RandomCropAroundBox', 'size': 96},
        {'type': 'RandomFlipReferring', 'prob': 1.0},
        {'type': 'PadToSquare', 'size': 96},
    ):
        results = TRANSFORMS.build(config)(results)
    np.testing.assert_allclose(results['box'], [67.2, 28.8, 67.2, 28.8], rtol=1e-6)


def test_pack():
    results = transforms.PadToSquare(44)(sample())
    results.update(sent_id=3, img_path='a.jpg', boxes=np.array([BOX, BOX], np.float32))
    packed = transforms.PackReferringInputs(original_mask=True)(results)
    packed_sample = packed['data_samples']
    assert packed['inputs'].dtype == torch.uint8
    np.testing.assert_array_equal(packed['inputs'].numpy(), results['img'].transpose(2, 0, 1))
    assert packed_sample.gt_box.tolist() == [12.5, 12, 32, 32]
    assert packed_sample.ori_box.tolist() == BOX
    assert packed_sample.ori_boxes.tolist() == [BOX, BOX]
    assert packed_sample.gt_mask.dtype == packed_sample.ori_mask.dtype == torch.bool
    assert packed_sample.gt_mask.shape == (44, 44) and packed_sample.ori_mask.shape == (30, 40)
    assert packed_sample.pad_offset == (7, 2) and packed_sample.text == 'the left dog'
    assert 'ori_mask' not in transforms.PackReferringInputs()(results)['data_samples']


@pytest.mark.parametrize(
    'config',
    [
        {'type': 'ResizeLongSide', 'sizes': []},
        {'type': 'ResizeLongSide', 'sizes': [0]},
        {'type': 'ResizeLongSide', 'sizes': [448], 'cap_with_direction': -1},
        {'type': 'PadToSquare', 'mode': 'center'},
    ],
)
def test_options_out_of_range_are_refused(config):
    with pytest.raises(ValueError, match=r'must be positive|unknown mode'):
        TRANSFORMS.build(config)
