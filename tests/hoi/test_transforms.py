import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmvl.hoi import transforms
from mmvl.hoi.structures import HOIPairs
from mmvl.registry import TRANSFORMS

BOXES = [[10, 5, 30, 25], [0, 0, 40, 30], [35, 2, 39, 8]]


def sample(boxes=BOXES, height=30, width=40, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    return {
        'img': rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        'img_shape': (height, width),
        'boxes': boxes,
        'labels': np.arange(len(boxes)),
        'box_ids': np.arange(len(boxes)),
        'rng': rng,
    }


class Scripted:
    """Stands for a generator whose draws are known."""

    def __init__(self, *, random=(), integers=()):
        self.draws = {'random': list(random), 'integers': list(integers)}

    def random(self):
        return self.draws['random'].pop(0)

    def integers(self, *_, **__):
        return self.draws['integers'].pop(0)


def load(path, **kwargs):
    return transforms.LoadHOIImage(**kwargs)({'img_path': str(path)})


def test_load_adds_the_record_of_boxes(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / 'a.png')
    boxes, labels = np.array(BOXES, np.float32), np.array([0, 4, 7])
    results = transforms.LoadHOIImage(keep_original=True)(
        {'img_path': str(tmp_path / 'a.png'), 'boxes': boxes, 'labels': labels}
    )
    np.testing.assert_array_equal(results['img'], array)
    np.testing.assert_array_equal(results['ori_img'], array)
    assert results['ori_shape'] == results['img_shape'] == (6, 9)
    assert results['box_ids'].tolist() == [0, 1, 2]
    transforms.flip(results)
    np.testing.assert_array_equal(results['ori_boxes'], BOXES)
    np.testing.assert_array_equal(results['ori_img'], array)
    assert 'ori_img' not in load(tmp_path / 'a.png')


def save_palette(path):
    image = Image.new('P', (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(path)


@pytest.mark.parametrize(
    ('name', 'save', 'expected'),
    [
        ('p.png', save_palette, [[10, 20, 30], [200, 100, 50]]),
        ('l.png', lambda p: Image.new('L', (2, 1), 77).save(p), [[77] * 3] * 2),
        ('la.png', lambda p: Image.new('LA', (2, 1), (77, 9)).save(p), [[77] * 3] * 2),
        ('a.png', lambda p: Image.new('RGBA', (2, 1), (1, 2, 3, 9)).save(p), [[1, 2, 3]] * 2),
        ('c.tif', lambda p: Image.new('CMYK', (2, 1), (255, 0, 0, 0)).save(p), [[0, 255, 255]] * 2),
        (
            'i.png',
            lambda p: Image.fromarray(np.array([[511, 65535]], np.uint16)).save(p),
            [[1] * 3, [255] * 3],
        ),
    ],
)
def test_load_converts_modes(name, save, expected, tmp_path):
    save(tmp_path / name)
    image = load(tmp_path / name)['img']
    assert image.dtype == np.uint8
    assert image[0].tolist() == expected


def test_load_ignores_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 4)).save(tmp_path / 'a.jpg', exif=exif)
    assert load(tmp_path / 'a.jpg')['img_shape'] == (4, 8)


def test_load_refuses_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'none.jpg\n.*hico_20160224_det/images'):
        load(tmp_path / 'none.jpg')
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ('a.jpg', 'a.png'):
        Image.fromarray(noise).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for share in (0.0, 0.01, 0.5, 0.9):
            (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(OSError, match=f'Cannot read the image .*{name}'):
                load(tmp_path / name)


def test_clip_drops_what_has_no_area():
    results = sample(
        [[-5, -2, 60, 10], [40, 3, 50, 9], [8, 9, 8, 20], [9, 20, 12, 10], [1, 2, 3, 4]]
    )
    transforms.ClipBoxes()(results)
    assert results['boxes'].tolist() == [[0, 0, 40, 10], [1, 2, 3, 4]]
    assert results['labels'].tolist() == results['box_ids'].tolist() == [0, 4]


def test_flip():
    results = sample()
    before = results['img']
    transforms.RandomFlipPairs(prob=0.5)({**results, 'rng': Scripted(random=[0.5])})
    assert results['boxes'].tolist() == BOXES
    results['rng'] = Scripted(random=[0.49])
    transforms.RandomFlipPairs(prob=0.5)(results)
    assert results['boxes'].tolist() == [[10, 5, 30, 25], [0, 0, 40, 30], [1, 2, 5, 8]]
    np.testing.assert_array_equal(results['img'][:, 0], before[:, -1])


def test_crop_shifts_cuts_and_drops():
    results = sample()
    before = results['img']
    # Drawn in this order: height, width, top, left.
    results['rng'] = Scripted(integers=[12, 20, 8, 15])
    transforms.RandomSizeCrop(10, 20)(results)
    np.testing.assert_array_equal(results['img'], before[8:20, 15:35])
    assert results['img_shape'] == (12, 20)
    assert results['boxes'].tolist() == [[0, 0, 15, 12], [0, 0, 20, 12]]
    assert results['box_ids'].tolist() == [0, 1]


def test_resize_scales_boxes_per_axis():
    results = sample(height=30, width=41)
    transforms.ResizeShortestEdge([45])(results)
    assert results['img'].shape == (45, 61, 3)
    assert results['img_shape'] == (45, 61)
    scale = np.array([61 / 41, 1.5] * 2, np.float32)
    np.testing.assert_array_equal(results['boxes'], np.array(BOXES, np.float32) * scale)


@pytest.mark.parametrize(
    ('shape', 'edge', 'limit', 'expected'),
    [
        ((480, 640), 800, 1333, (800, 1066)),
        ((640, 480), 800, 1333, (1066, 800)),
        ((427, 640), 800, 1333, (800, 1199)),
        ((300, 1000), 800, 1333, (400, 1333)),
        ((333, 1000), 800, 1333, (444, 1333)),
        ((800, 1000), 800, 1333, (800, 1000)),
        ((300, 1000), 800, None, (800, 2666)),
    ],
)
def test_shortest_edge_rule(shape, edge, limit, expected):
    assert transforms.shortest_edge_shape(shape, edge, limit) == expected


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 50),
    st.integers(0, 20),
    st.integers(0, 2**32),
)
def test_random_crop_of_any_image(height, width, least, more, seed):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, (width, height), (5, 2, 2)), axis=1).reshape(5, 4)
    results = sample(corners, height, width, seed)
    transforms.RandomSizeCrop(least, least + more)(results)
    new_height, new_width = results['img'].shape[:2]
    assert min(height, least) <= new_height <= min(height, least + more)
    assert min(width, least) <= new_width <= min(width, least + more)
    boxes = results['boxes']
    assert (boxes >= 0).all() and (boxes <= [new_width, new_height] * 2).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    old_sizes = (corners[:, 2:] - corners[:, :2])[results['box_ids']]
    assert (boxes[:, 2:] - boxes[:, :2] <= old_sizes + 1e-4).all()


def test_jitter_draws_within_its_range():
    grey = np.full((2, 2, 3), 100, np.uint8)
    values = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        results = {'img': grey, 'rng': rng}
        values.add(int(transforms.ColorJitterRGB(0.4, 0, 0)(results)['img'][0, 0, 0]))
    assert min(values) in range(60, 64)
    assert max(values) in range(137, 141)
    assert len(values) > 50


def test_branch_takes_one_of_two():
    branch = transforms.RandomBranch(
        [[{'type': 'ResizeShortestEdge', 'scales': [15]}], [lambda results: results]], prob=0.3
    )
    for draw, height in ((0.29, 15), (0.3, 30)):
        assert branch({**sample(), 'rng': Scripted(random=[draw])})['img'].shape[0] == height
    with pytest.raises(ValueError, match='two pipelines, got 1'):
        transforms.RandomBranch([[]])


AUGMENTATION = [
    {'type': 'ClipBoxes'},
    {'type': 'RandomFlipPairs'},
    {'type': 'ColorJitterRGB'},
    {
        'type': 'RandomBranch',
        'transforms': [
            [{'type': 'ResizeShortestEdge', 'scales': [40, 44, 48]}],
            [
                {'type': 'ResizeShortestEdge', 'scales': [30, 36], 'max_size': None},
                {'type': 'RandomSizeCrop', 'min_size': 20, 'max_size': 40},
            ],
        ],
    },
]


def test_augmentation_is_a_function_of_the_generator():
    steps = [TRANSFORMS.build(step) for step in AUGMENTATION]

    def run(seed):
        results = {**sample(), 'rng': np.random.default_rng(seed)}
        np.random.seed(len(runs))
        torch.manual_seed(len(runs))
        for step in steps:
            results = step(results)
        runs.append(results)
        return results['img'], results['boxes'].tolist()

    runs = []
    first, again = run(3), run(3)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert len({run(seed)[0].tobytes() for seed in range(10)}) == 10


def test_pack_keeps_the_annotation_and_the_pairs():
    results = sample()
    results.update(
        img_path='x/a.jpg', file_name='a.jpg', img_id=7, ori_shape=(30, 40),
        ori_boxes=results['boxes'].copy(), ori_labels=results['labels'].copy(),
        hois=np.array([[0, 1, 57], [0, 2, 3]]), ori_img=results['img'], gt_pairs=HOIPairs(),
    )  # fmt: skip
    transforms.RandomSizeCrop(5, 5)(results)
    packed = transforms.PackHOIInputs()(results)
    inputs, data = packed['inputs'], packed['data_samples']
    assert (inputs.dtype, tuple(inputs.shape)) == (torch.uint8, (3, 5, 5))
    np.testing.assert_array_equal(inputs.permute(1, 2, 0).numpy(), results['img'])
    assert data.gt_instances.boxes.tolist() == BOXES
    assert data.gt_instances.labels.tolist() == [0, 1, 2]
    assert data.gt_hois.tolist() == [[0, 1, 57], [0, 2, 3]]
    assert (data.img_path, data.file_name, data.img_id) == ('x/a.jpg', 'a.jpg', 7)
    assert (data.ori_shape, data.img_shape) == ((30, 40), (5, 5))
    assert data.ori_img.shape == (30, 40, 3)
    assert data.gt_pairs is results['gt_pairs']


def test_pipeline_without_annotation(tmp_path):
    Image.new('RGB', (40, 30), (1, 2, 3)).save(tmp_path / 'a.png')
    results = load(tmp_path / 'a.png')
    transforms.ResizeShortestEdge([15])(results)
    packed = transforms.PackHOIInputs()(results)
    assert packed['inputs'][:, 7, 9].tolist() == [1, 2, 3]
    assert tuple(packed['inputs'].shape) == (3, 15, 20)
    assert packed['data_samples'].keys() == []
    assert packed['data_samples'].ori_shape == (30, 40)
