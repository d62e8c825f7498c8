"""Transforms of a clip with its sentence, masks and boxes."""

import numpy as np
import pytest
import torch
from PIL import Image

import mmvl.video.transforms as T
from mmvl.engine.images import ImageError
from mmvl.registry import TRANSFORMS
from mmvl.structures.masks import MaskError
from mmvl.video.datasets.masks import boxes_of
from mmvl.video.transforms.geometry import short_side_size


def clip(frames=3, height=30, width=40, target=None, text='the bright dog on the left', seed=0):
    """Frames with a rectangle of white, which is the mask, and nothing in the last one."""
    rng = np.random.default_rng(seed)
    imgs = [rng.integers(0, 100, (height, width, 3), dtype=np.uint8) for _ in range(frames)]
    masks = np.zeros((frames, height, width), np.uint8)
    for t in range(frames - 1):
        masks[t, 5 + t : 15, 10 : 20 + t] = 1
        imgs[t][masks[t] > 0] = 255
    if target is not None:
        masks = masks[target, None]
    return {
        'video_id': 'v',
        'exp_id': '3',
        'obj_id': 1,
        'dataset': 'd',
        'split': 's',
        'text': text,
        'frame_names': tuple(map(str, range(frames))),
        'target': target,
        'image_id': '',
        'imgs': imgs,
        'masks': masks,
        'ori_masks': masks,
        'boxes': boxes_of(masks),
        'valid': masks.any(axis=(1, 2)),
        'ori_shape': (height, width),
        'img_shape': (height, width),
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

    def uniform(self, *_):
        return self.draws.pop(0)


def on_disk(disk, folder, sizes=((48, 64),) * 3, **extra):
    paths = []
    for i, shape in enumerate(sizes):
        path = folder / f'{i}.png'
        disk.write_frame(path, 50 * i, shape)
        paths.append(str(path))
    return {
        'video_id': 'vid',
        'exp_id': '7',
        'frame_names': tuple(str(i) for i in range(len(sizes))),
        'img_paths': paths,
        **extra,
    }


def png(disk, path, step, shape=None):
    ids = disk.squares(step)
    disk.write_ids(path, ids if shape is None else np.zeros(shape))
    return {'form': 'png', 'path': str(path), 'obj_id': 2}


def test_load_frames_masks_and_boxes(disk, tmp_path):
    sources = [png(disk, tmp_path / f'm{i}.png', step) for i, step in enumerate((0, 3, 4))]
    loaded = T.LoadClip()(on_disk(disk, tmp_path, mask_sources=sources))
    assert [img[0, 0].tolist() for img in loaded['imgs']] == [[0] * 3, [50] * 3, [100] * 3]
    assert loaded['ori_shape'] == loaded['img_shape'] == (48, 64)
    assert loaded['masks'].dtype == np.uint8
    assert loaded['masks'].sum(axis=(1, 2)).tolist() == [44, 44, 0]
    # from the first to the last pixel
    assert loaded['boxes'].tolist() == [[20, 30, 23, 40], [20, 30, 23, 40], [0, 0, 0, 0]]
    assert loaded['valid'].tolist() == [True, True, False]


def test_without_masks_nothing_is_made_up(disk, tmp_path):
    loaded = T.LoadClip()(on_disk(disk, tmp_path))
    assert {'masks', 'boxes', 'valid'}.isdisjoint(loaded)


def test_annotated_box_of_an_image_is_kept_inside_of_it(disk, tmp_path):
    polygon = [[10, 10, 20, 10, 20, 20, 10, 20]]
    results = on_disk(disk, tmp_path, sizes=[(48, 64)], box=np.array([9.5, -1, 20.5, 60]))
    results['mask_sources'] = [{'form': 'coco', 'segmentation': polygon}]
    loaded = T.LoadClip()(results)
    assert loaded['boxes'].tolist() == [[9.5, 0, 20.5, 48]]
    assert loaded['masks'].sum() == 100


def test_frame_of_another_size(disk, tmp_path):
    results = on_disk(disk, tmp_path, sizes=[(48, 64), (48, 64), (48, 65)])
    with pytest.raises(T.ClipError, match=r'video vid, sentence 7: frame 2 has 65 x 48 pixels'):
        T.LoadClip()(results)


def test_zero_frames():
    with pytest.raises(T.ClipError, match='video vid, sentence 7: zero frames'):
        T.LoadClip()({'video_id': 'vid', 'exp_id': '7', 'img_paths': [], 'frame_names': ()})


def test_missing_and_damaged_frames(disk, tmp_path):
    results = on_disk(disk, tmp_path)
    (tmp_path / '1.png').write_bytes((tmp_path / '1.png').read_bytes()[:60])
    with pytest.raises(ImageError, match=r'1\.png'):
        T.LoadClip()(dict(results))
    (tmp_path / '1.png').unlink()
    with pytest.raises(FileNotFoundError, match=r'1\.png'):
        T.LoadClip()(dict(results))


def damage(path):
    data = bytearray(path.read_bytes())
    data[data.index(b'IDAT') + 12] ^= 255
    path.write_bytes(data)


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda disk, path: png(disk, path, 0, (48, 60)), 'the mask is 60 x 48, the frame 64 x 48'),
        (lambda disk, path: path.write_bytes(b'abc'), 'damaged, or not PNG'),
        (lambda disk, path: path.write_bytes(path.read_bytes()[:-20]), 'damaged, or not PNG'),
        (lambda disk, path: damage(path), 'damaged, or not PNG'),
        (lambda disk, path: disk.write_frame(path), 'colours'),
    ],
)
def test_bad_masks_are_refused_by_name(disk, tmp_path, spoil, said):
    source = png(disk, tmp_path / 'mask.png', 0)
    spoil(disk, tmp_path / 'mask.png')
    results = on_disk(disk, tmp_path, sizes=[(48, 64)], mask_sources=[source])
    with pytest.raises(MaskError, match=said) as error:
        T.LoadClip()(results)
    assert str(error.value).startswith('video vid, sentence 7: Cannot use the mask')
    assert 'mask.png' in str(error.value)


def test_flip_moves_all_alike():
    before = clip()
    after = T.RandomFlipClip(prob=1)(clip())
    # letters are swapped wherever they stand, as published
    assert after['text'] == 'the bleft dog on the right'
    for one, other in zip(before['imgs'], after['imgs'], strict=True):
        np.testing.assert_array_equal(one[:, ::-1], other)
    assert after['masks'].flags.c_contiguous
    np.testing.assert_array_equal(after['masks'], before['masks'][..., ::-1])
    # width 40, first and last pixel 10 and 19
    assert after['boxes'][0].tolist() == [21, 5, 30, 14]


def test_flip_has_its_probability():
    flip, rng = T.RandomFlipClip(0.3), np.random.default_rng(0)
    texts = [flip({**clip(1), 'rng': rng})['text'] for _ in range(400)]
    assert 90 < sum('bleft' in text for text in texts) < 150


@pytest.mark.parametrize(
    ('shape', 'size', 'limit', 'expected'),
    [
        ((480, 854), 360, None, (360, 640)),
        ((720, 1280), 512, 640, (360, 640)),
        ((854, 480), 360, None, (640, 360)),
        ((320, 577), 320, 640, (320, 577)),
        # the limit is rounded on the shorter side, so that the longer one may exceed it
        ((375, 1242), 360, 640, (193, 639)),
        ((337, 500), 480, 640, (431, 639)),
        ((10, 1000), 5, None, (5, 500)),
    ],
)
def test_short_side(shape, size, limit, expected):
    assert short_side_size(*shape, size, limit) == expected


def test_resize():
    before = clip(height=37, width=53)
    after = T.ResizeClip([24])(clip(height=37, width=53))
    assert after['img_shape'] == (24, 34)
    expected = Image.fromarray(before['imgs'][1]).resize((34, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(after['imgs'][1], expected)
    # the nearest pixel as PyTorch's interpolate finds it
    rows, columns = np.arange(24) * 37 // 24, np.arange(34) * 53 // 34
    np.testing.assert_array_equal(after['masks'], before['masks'][:, rows][:, :, columns])
    ratio = np.array([34 / 53, 24 / 37, 34 / 53, 24 / 37])
    np.testing.assert_allclose(after['boxes'][0], before['boxes'][0] * ratio, rtol=1e-6)


def test_resize_draws_every_size():
    resize, rng = T.ResizeClip([20, 30, 40]), np.random.default_rng(0)
    heights = {resize({**clip(1), 'rng': rng})['img_shape'][0] for _ in range(40)}
    assert heights == {20, 30, 40}


def test_crop_cuts_boxes_and_masks_alike():
    before, results = clip(), clip()
    # width, height, top, left
    results['rng'] = Scripted(15, 10, 8, 12)
    after = T.RandomCropClip(8, 16)(results)
    assert after['img_shape'] == (10, 15)
    np.testing.assert_array_equal(after['imgs'][1], before['imgs'][1][8:18, 12:27])
    np.testing.assert_array_equal(after['masks'], before['masks'][:, 8:18, 12:27])
    assert after['boxes'].tolist() == [[0, 0, 7, 6], [0, 0, 8, 6], [0, 0, 0, 0]]


def test_crop_sizes_and_places():
    crop, rng = T.RandomCropClip(20, 34), np.random.default_rng(0)
    shapes = [crop({**clip(1), 'rng': rng})['img_shape'] for _ in range(300)]
    assert {height for height, _ in shapes} == set(range(20, 31))
    assert {width for _, width in shapes} == set(range(20, 35))


def test_crop_larger_than_the_frames():
    with pytest.raises(ValueError, match='40 x 30 are smaller than a crop of 31'):
        T.RandomCropClip(31, 40)(clip())


def test_keep_visible():
    results = clip()
    # a mask one pixel wide has a box without area
    results['boxes'] = np.array([[3, 4, 3, 9], [3, 4, 5, 9], [0, 0, 0, 0]], np.float32)
    after = T.KeepVisible()(results)
    assert after['valid'].tolist() == [False, True, False]
    assert after['boxes'].tolist() == [[0] * 4, [3, 4, 5, 9], [0] * 4]
    assert after['boxes'].dtype == np.float32
    results['boxes'] = results['boxes'] * 0
    assert T.KeepVisible()(results) is None


def test_a_branch_may_give_none():
    keep, resize = {'type': 'KeepVisible'}, {'type': 'ResizeClip', 'sizes': [20]}
    branch = TRANSFORMS.build({'type': 'RandomBranch', 'transforms': [[keep, resize], [resize]]})
    nowhere = {**clip(), 'boxes': np.zeros((3, 4), np.float32)}
    assert branch({**nowhere, 'rng': Scripted(0.4)}) is None
    assert branch({**nowhere, 'rng': Scripted(0.6)})['img_shape'] == (20, 26)


def one_pixel(rgb, *draws):
    results = {'imgs': [np.array([[rgb]], np.uint8)], 'rng': Scripted(*draws)}
    return T.PhotometricDistortClip()(results)['imgs'][0][0, 0].tolist()


@pytest.mark.parametrize(
    ('draws', 'expected'),
    [
        # brightness, order, contrast, saturation, hue, permutation; each drawn or not
        ((0, 1, 0, 0, 0, 0), [200, 100, 50]),
        ((1, 20.0, 1, 0, 0, 0, 0), [220, 120, 70]),
        ((0, 1, 1, 0.5, 0, 0, 0), [100, 50, 25]),
        ((0, 0, 1, 0.5, 0, 0, 0), [200, 150, 125]),
        ((0, 0, 0, 0, 1, 1.2, 0), [240, 120, 60]),
        ((0, 1, 0, 0, 0, 1, 3), [100, 50, 200]),
        # beyond 255 values wrap round, as published: 300 is 44
        ((0, 1, 1, 1.5, 0, 0, 0), [44, 150, 75]),
    ],
)
def test_photometric_changes(draws, expected):
    np.testing.assert_allclose(one_pixel([200, 100, 50], *draws), expected, atol=1)


def test_photometric_hue_turns_against_the_names():
    # of red, 60 degrees; the channels are taken for blue, green, red
    pixel = one_pixel([200, 0, 0], 0, 1, 0, 0, 1, 60.0, 0)
    np.testing.assert_allclose(pixel, [200, 0, 200], atol=1)


def test_photometric_draws_for_each_frame():
    results = {'imgs': [np.full((4, 4, 3), 100, np.uint8)] * 6, 'rng': np.random.default_rng(0)}
    after = T.PhotometricDistortClip()(results)['imgs']
    assert len({img.tobytes() for img in after}) > 3


def test_image_to_clip():
    results = clip(frames=2, height=60, width=80, seed=3)
    results['imgs'] = results['imgs'][:1]
    results['masks'] = np.zeros((1, 60, 80), np.uint8)
    results['masks'][0, 20:40, 30:55] = 1
    image = results['imgs'][0]
    image[:] = 0
    image[20:40, 30:55] = 200
    after = T.ImageToClip(num_frames=8, brightness=5, blur_prob=0.0)(results)
    assert after['masks'].shape == (8, 60, 80)
    assert after['frame_names'] == tuple('01234567')
    same = [t for t, img in enumerate(after['imgs']) if np.array_equal(img, image)]
    assert len(same) == 1
    assert same != [0]
    for img, mask, box in zip(after['imgs'], after['masks'], after['boxes'], strict=True):
        # the mask goes where the pixels go
        bright = img[..., 0] > 100
        overlap = (bright & (mask > 0)).sum() / (bright | (mask > 0)).sum()
        assert overlap > 0.9
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
    assert len({mask.tobytes() for mask in after['masks']}) == 8


def test_image_to_clip_blurs_with_its_probability():
    def sharpness(prob):
        results = clip(frames=2, height=60, width=80)
        settings = {'perspective': 0.0, 'rotation': 0.0, 'translation': 0.0, 'brightness': 0}
        after = T.ImageToClip(40, hue_saturation=0, blur_prob=prob, **settings)(results)
        return [float(np.diff(img[:, :, 0].astype(float), axis=1).std()) for img in after['imgs']]

    assert np.ptp(sharpness(0.0)) < 1
    values = sharpness(0.25)
    assert 3 <= sum(value < 0.8 * max(values) for value in values) <= 18


def test_one_frame_stays_as_it_is():
    before = clip(frames=2)
    after = T.ImageToClip(num_frames=1)(clip(frames=2))
    np.testing.assert_array_equal(after['imgs'], before['imgs'][:1])


def test_pack():
    results = T.ResizeClip([15])(clip())
    packed = T.PackClip(original_masks=True)(results)
    assert packed['inputs'].shape == (3, 3, 15, 20)
    assert packed['inputs'].dtype == torch.uint8
    np.testing.assert_array_equal(packed['inputs'][1].permute(1, 2, 0), results['imgs'][1])
    sample = packed['data_samples']
    assert sample.gt_masks.shape == (3, 15, 20)
    assert sample.ori_masks.shape == (3, 30, 40)
    assert sample.gt_boxes[0].tolist() == [5, 2.5, 9.5, 7]
    assert sample.gt_valid.tolist() == [True, True, False]
    assert sample.img_shape == (15, 20)
    assert sample.ori_shape == (30, 40)
    assert sample.target is None
    assert sample.frame_names == ('0', '1', '2')


def test_pack_of_an_annotated_frame():
    sample = T.PackClip()(clip(target=1))['data_samples']
    assert sample.gt_masks.shape == (1, 30, 40)
    assert sample.gt_boxes.shape == (1, 4)
    assert sample.target == 1
    assert 'ori_masks' not in sample


def test_the_published_pipeline_depends_on_the_generator_alone():
    scales = [16, 20, 24]
    pipeline = [
        {'type': 'RandomFlipClip'},
        {'type': 'PhotometricDistortClip'},
        {
            'type': 'RandomBranch',
            'transforms': [
                [{'type': 'ResizeClip', 'sizes': scales, 'max_size': 32}],
                [
                    {'type': 'ResizeClip', 'sizes': [24, 26]},
                    {'type': 'RandomCropClip', 'min_size': 20, 'max_size': 30},
                    {'type': 'ResizeClip', 'sizes': scales, 'max_size': 32},
                ],
            ],
        },
        {'type': 'KeepVisible'},
        {'type': 'PackClip'},
    ]
    steps = [TRANSFORMS.build(step) for step in pipeline]

    def run(seed):
        results = {**clip(), 'rng': np.random.default_rng(seed)}
        for step in steps:
            results = step(results)
        return results

    for seed in range(6):
        one, other = run(seed), run(seed)
        assert torch.equal(one['inputs'], other['inputs'])
        sample = one['data_samples']
        assert max(sample.img_shape) <= 33
        assert (sample.gt_boxes[:, 2:] <= torch.tensor(sample.img_shape[::-1])).all()
    assert len({run(seed)['inputs'].shape for seed in range(12)}) > 2
