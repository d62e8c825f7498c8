"""Pictures of data samples, and the hook that writes them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.grounding.visualization import (
    PREDICTION_COLOR,
    TRUTH_COLOR,
    ReferringVisualizer,
    add_caption,
    draw_referent,
)
from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.structures import ReferringDataSample

BOX = [100.0, 200, 300, 500]


def make_sample(folder, name='a.png', sent_id=5, predicted=True, text='the man on the left'):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((640, 800, 3), 128, np.uint8)
    Image.fromarray(image).save(path)
    meta = {'img_path': str(path), 'file_name': name, 'sent_id': sent_id, 'text': text}
    sample = ReferringDataSample(metainfo=meta)
    sample.ori_box = torch.tensor(BOX)
    sample.ori_mask = torch.zeros(640, 800, dtype=torch.bool)
    sample.ori_mask[250:450, 150:250] = True
    if predicted:
        sample.pred_box = torch.tensor([100.0, 200, 300, 350])
        sample.pred_mask = torch.zeros(640, 800, dtype=torch.bool)
    return sample, image


def closeness(pixel, color):
    return np.abs(pixel.astype(int) - color).max()


def test_box_and_mask_are_where_they_belong():
    image = np.full((640, 800, 3), 128, np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[250:450, 150:250] = True
    picture = draw_referent(image, np.array(BOX), mask)
    assert picture.shape == image.shape
    for x, y in ((100, 350), (300, 350), (200, 200), (200, 500)):
        assert closeness(picture[y, x], PREDICTION_COLOR) < 30
    tinted = 0.45 * np.array(PREDICTION_COLOR) + 0.55 * 128
    assert closeness(picture[350, 200], tinted) <= 1
    for x, y in ((120, 350), (200, 480), (50, 50), (500, 350)):
        assert (picture[y, x] == 128).all()
    assert (image == 128).all()


def test_small_images_are_enlarged_with_their_boxes():
    image = np.full((64, 80, 3), 128, np.uint8)
    picture = draw_referent(image, np.array(BOX) / 10)
    assert picture.shape == (640, 800, 3)
    assert closeness(picture[350, 100], PREDICTION_COLOR) < 30


@pytest.mark.parametrize(
    'box', [[-50.0, -50, 900, 900], [799, 10, 700, 5], [5, 5, 5, 5], [900, 900, 950, 950]]
)
def test_boxes_of_any_kind_are_drawn(box):
    image = np.full((640, 800, 3), 128, np.uint8)
    assert (draw_referent(image, np.array(box)) != 128).any()


def test_nothing_to_draw():
    image = np.full((640, 800, 3), 128, np.uint8)
    for box in (None, np.full(4, np.nan), np.array([0, 0, np.inf, 5])):
        assert (draw_referent(image, box, np.zeros((640, 800), bool)) == 128).all()
    with pytest.raises(ValueError, match=r'the mask is \(5, 5\)'):
        draw_referent(image, None, np.zeros((5, 5), bool))


def ink(picture, start):
    """Rows of the caption that have dark pixels, as a number of lines."""
    dark = (picture[start:] < 100).any(axis=(1, 2))
    return int((np.diff(dark.astype(int), prepend=0) == 1).sum())


def test_long_sentences_are_wrapped_and_cut():
    picture = np.full((640, 800, 3), 128, np.uint8)
    short, long, longer = (add_caption(picture, 'word ' * n) for n in (3, 40, 500))
    assert [each.shape[1] for each in (short, long, longer)] == [800] * 3
    assert ink(short, 640) == 1 and ink(long, 640) > 1
    assert short.shape[0] < long.shape[0] <= longer.shape[0] < 640 + 150
    # nothing is written over the border
    assert (longer[640:, -4:] == 255).all()
    np.testing.assert_array_equal(longer[:640], picture)


@pytest.mark.parametrize(
    'text',
    [
        '',
        'x' * 5000,
        '左边的人' * 100,
        'الرجل على اليسار',
        '👩‍🚀 🏳️‍🌈 😀',
        'a\0b\x1b[31m\ud800 \u202e',
        'two\nlines\tand more',
        'é' * 3 + 'e\u0301\u0301\u0301',
        '\N{ZERO WIDTH SPACE}',
    ],
)
def test_any_text_can_be_a_caption(text):
    for shape in ((640, 800, 3), (30, 320, 3), (5, 4, 3)):
        picture = add_caption(np.full(shape, 128, np.uint8), text)
        assert picture.shape[0] > shape[0] and picture.shape[1] == shape[1]
        assert (picture[: shape[0]] == 128).all()


def test_annotation_left_prediction_right(tmp_path):
    sample, image = make_sample(tmp_path)
    out = tmp_path / 'new' / 'out.png'
    picture = ReferringVisualizer().add_datasample('a', image, sample, out_file=str(out))
    bar = 640 // 25
    assert picture.shape[1] == 2 * 800 + 8 and picture.shape[0] > 640 + bar
    np.testing.assert_array_equal(np.asarray(Image.open(out)), picture)
    assert closeness(picture[bar + 480, 100], TRUTH_COLOR) < 30
    assert closeness(picture[bar + 480, 908], (128, 128, 128)) == 0  # the prediction is shorter
    assert closeness(picture[bar + 300, 908], PREDICTION_COLOR) < 30
    assert closeness(picture[bar + 260, 200], (128, 128, 128)) > 20  # the mask of the annotation
    assert closeness(picture[bar + 260, 1008], (128, 128, 128)) == 0


def test_title_of_a_prediction(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(
        'mmvl.grounding.visualization.add_title', lambda panel, text: titles.append(text) or panel
    )
    sample, image = make_sample(tmp_path)
    visualizer, out = ReferringVisualizer(), str(tmp_path / 'out.png')
    visualizer.add_datasample('a', image, sample, out_file=out)
    sample.ori_box = sample.pred_box = torch.zeros(4)
    visualizer.add_datasample('a', image, sample, out_file=out, draw_gt=False)
    del sample.ori_box
    visualizer.add_datasample('a', image, sample, out_file=out)
    assert titles == [
        'annotation',
        'prediction (IoU of the boxes 0.50)',
        'prediction (IoU of the boxes 0.00)',
        'prediction',
    ]


def test_either_side_alone_and_neither(tmp_path):
    sample, image = make_sample(tmp_path)
    visualizer, out = ReferringVisualizer(), str(tmp_path / 'out.png')
    for options in ({'draw_gt': False}, {'draw_pred': False}):
        picture = visualizer.add_datasample('a', image, sample, out_file=out, **options)
        assert picture.shape[1] == 800
    bare = ReferringDataSample(metainfo={'text': 'a dog'})
    picture = visualizer.add_datasample('a', image, bare, out_file=out)
    np.testing.assert_array_equal(picture[:640], image)


@pytest.mark.parametrize('shape', [(1, 1), (3, 900), (900, 3)])
def test_images_of_extreme_shapes(tmp_path, shape):
    sample = ReferringDataSample(metainfo={'text': 'a line'}, pred_box=torch.tensor([0.0, 0, 1, 1]))
    image = np.zeros((*shape, 3), np.uint8)
    picture = ReferringVisualizer().add_datasample(
        'a', image, sample, out_file=str(tmp_path / 'out.png')
    )
    assert 320 <= picture.shape[1] <= 2048


def build_hook(**options):
    return HOOKS.build({'type': 'ReferringVisualizationHook', **options})


def make_runner(folder):
    visualizer = VISUALIZERS.build(
        {
            'type': 'ReferringVisualizer',
            'name': str(folder),
            'vis_backends': [{'type': 'LocalVisBackend'}],
            'save_dir': str(folder),
        }
    )
    return SimpleNamespace(visualizer=visualizer, work_dir=str(folder), iter=7)


def test_hook_writes_a_picture_for_each_sentence(tmp_path):
    samples = [make_sample(tmp_path / 'in', 'sub/a.b.png', sent_id=i)[0] for i in range(3)]
    runner = make_runner(tmp_path / 'work')
    hook = build_hook(show_dir=str(tmp_path / 'show'), max_images=2)
    for _ in range(2):  # the second test starts counting anew
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, outputs=samples[:1])
        hook.after_test_iter(runner, 1, outputs=samples[1:])
        found = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / 'show').rglob('*.*'))
        assert found == ['show/sub/a.b_0.jpg', 'show/sub/a.b_1.jpg']
        (tmp_path / found[0]).unlink()
    hook.after_val_iter(runner, 0, outputs=samples)
    assert not list((tmp_path / 'work').rglob('*.png'))


def test_hook_without_a_folder_uses_the_work_folder(tmp_path):
    sample, _ = make_sample(tmp_path)
    build_hook(draw=True).after_test_iter(make_runner(tmp_path / 'work'), 0, outputs=[sample])
    assert Path(tmp_path, 'work', 'vis', 'a_5.jpg').is_file()


def test_hook_is_silent_unless_asked(tmp_path):
    meta = {'img_path': 'nowhere.jpg', 'file_name': 'nowhere.jpg', 'sent_id': 0}
    hook, runner = build_hook(), make_runner(tmp_path)
    hook.after_test_iter(runner, 0, outputs=[ReferringDataSample(metainfo=meta)])
    hook.after_val_iter(runner, 0, outputs=[ReferringDataSample(metainfo=meta)])
    with pytest.raises(FileNotFoundError, match=r'nowhere\.jpg'):
        build_hook(draw=True).after_test_iter(
            runner, 0, outputs=[ReferringDataSample(metainfo=meta)]
        )


def test_hook_gives_some_sentences_of_a_validation_to_the_backends(tmp_path):
    samples = [make_sample(tmp_path / 'in', sent_id=i)[0] for i in range(3)]
    runner = make_runner(tmp_path / 'work')
    hook = build_hook(draw=True, val_images=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=samples)
    assert sorted(p.name for p in (tmp_path / 'work').rglob('*.png')) == [
        'val_a_0_7.png',
        'val_a_1_7.png',
    ]
