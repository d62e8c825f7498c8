"""Pictures and videos of what a sentence refers to."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.registry import HOOKS, VISUALIZERS
from mmvl.video.decode import VideoError, count_frames, read_frames
from mmvl.video.streaming import FrameSource, write_video
from mmvl.video.structures import ClipDataSample
from mmvl.video.transforms import ClipError
from mmvl.video.visualization import (
    PREDICTION_COLOR,
    TRUTH_COLOR,
    RVOSVisualizer,
    caption_bar,
    draw_frame,
    evenly_spaced,
    filmstrip,
    filmstrip_cell,
    score_curve,
    with_caption,
)

GREY = np.full((240, 320, 3), 128, np.uint8)
BOX = np.array([80.0, 60, 200, 180])


def closeness(pixel, color):
    return np.abs(pixel.astype(int) - color).max()


def square():
    mask = np.zeros((240, 320), bool)
    mask[90:150, 110:170] = True
    return mask


def test_mask_outline_box_and_score_are_where_they_belong():
    picture = draw_frame(GREY, square(), BOX, 0.87)
    tinted = 0.45 * np.array(PREDICTION_COLOR) + 0.55 * 128
    assert closeness(picture[120, 140], tinted) <= 1
    for y, x in ((90, 140), (149, 140), (120, 110), (120, 169)):
        assert closeness(picture[y, x], PREDICTION_COLOR) < 30, 'outline'
    for y, x in ((60, 150), (180, 150), (120, 80), (120, 200)):
        assert closeness(picture[y, x], PREDICTION_COLOR) < 30, 'box'
    assert (picture[63, 83] == PREDICTION_COLOR).all(), 'ground of the score'
    for y, x in ((20, 20), (120, 95), (165, 140), (220, 300)):
        assert (picture[y, x] == 128).all()
    assert (GREY == 128).all()


def test_holes_and_several_parts_have_outlines():
    mask = square()
    mask[110:130, 130:150] = False
    mask[10:20, 10:20] = True
    picture = draw_frame(GREY, mask)
    assert closeness(picture[109, 140], PREDICTION_COLOR) < 30
    assert closeness(picture[10, 15], PREDICTION_COLOR) < 30
    assert (picture[120, 140] == 128).all()


@pytest.mark.parametrize(
    'box', [[-50.0, -50, 900, 900], [319, 10, 300, 5], [5, 5, 5, 5], [900, 900, 950, 950]]
)
def test_boxes_of_any_kind_are_drawn(box):
    assert (draw_frame(GREY, box=np.array(box)) != 128).any()


@pytest.mark.parametrize('shape', [(1, 1), (3, 90), (90, 3)])
def test_frames_of_extreme_shapes(shape):
    frame = np.zeros((*shape, 3), np.uint8)
    picture = draw_frame(frame, np.ones(shape, bool), np.array([0.0, 0, 1, 1]), 0.5)
    assert picture.shape == frame.shape
    assert filmstrip([filmstrip_cell(picture, 'frame 0')], 'a line').shape[1] == 420


def test_nothing_to_draw():
    for box in (None, np.full(4, np.nan), np.array([0, 0, np.inf, 5])):
        assert (draw_frame(GREY, np.zeros((240, 320), bool), box) == 128).all()
    with pytest.raises(ValueError, match=r'the mask is \(5, 5\)'):
        draw_frame(GREY, np.zeros((5, 5), bool))


def ink(picture):
    """Lines of text, as runs of rows with dark pixels."""
    dark = (picture < 100).any(axis=(1, 2))
    return int((np.diff(dark.astype(int), prepend=0) == 1).sum())


def test_long_sentences_are_wrapped_and_cut():
    short, long, longer = (caption_bar('word ' * n, 420) for n in (3, 30, 500))
    assert (ink(short), ink(longer)) == (1, 4)
    assert 1 < ink(long) < 5
    assert all(each.shape[1] == 420 and (each[:, -2:] == 255).all() for each in (long, longer))
    under = with_caption(GREY, 'a dog')
    assert np.array_equal(under[:240], GREY) and ink(under[240:]) == 1


@pytest.mark.parametrize(
    'text',
    ['', 'x' * 5000, '左边的人' * 100, '👩‍🚀 🏳️‍🌈 😀', 'a\0b\x1b[31m\ud800 \u202e', 'two\nlines'],
)
def test_any_text_can_be_a_caption(text):
    for width in (4, 300):
        assert caption_bar(text, width).shape[1] == width


def test_evenly_spaced():
    assert evenly_spaced(36, 8) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert evenly_spaced(3, 8) == [0, 1, 2]
    assert evenly_spaced(1, 8) == [0]


def test_a_filmstrip_has_rows_of_four():
    cells = [filmstrip_cell(np.full((90, 160, 3), 40 * i, np.uint8), str(i)) for i in range(6)]
    strip = filmstrip(cells, 'a sentence')
    height, width = cells[0].shape[:2]
    assert strip.shape[1] == 4 * width + 3 * 8
    for i in range(6):
        row, column = divmod(i, 4)
        y, x = row * (height + 8) + height // 2, column * (width + 8) + width // 2
        assert (strip[y, x] == 40 * i).all()
    assert (strip[height + 8 + height // 2, 3 * (width + 8) + 10] == 255).all(), 'empty cell'


def curve_rows(picture):
    """Mean row of the curve in every column of the plot that has it."""
    hit = np.abs(picture[:320].astype(int) - PREDICTION_COLOR).max(axis=2) < 60
    columns = np.flatnonzero(hit.any(axis=0))
    return {int(x): float(np.flatnonzero(hit[:, x]).mean()) for x in columns}


def test_the_curve_goes_through_the_scores():
    scores = np.array([0.0, 0.5, 1.0, 0.25, np.nan])
    rows = curve_rows(score_curve(scores, list('abcde'), 'a sentence'))
    for i, score in enumerate((0.0, 0.5, 1.0, 0.25, 0.0)):
        x = round(60 + i / 4 * 870)
        near = [rows[c] for c in range(x - 1, x + 2) if c in rows]
        assert np.mean(near) == pytest.approx(20 + (1 - score) * 260, abs=5)


def test_windows_are_marked():
    bare, marked = (score_curve(np.full(6, 0.9), list('abcdef'), 'x', window=n) for n in (None, 2))
    changed = np.flatnonzero((bare[180] != marked[180]).any(axis=1))
    centres = [60 + 1.5 / 5 * 870, 60 + 3.5 / 5 * 870]
    assert all(min(abs(x - c) for c in centres) < 2 for x in changed)
    assert len(changed) >= 2
    assert score_curve(np.array([0.5]), ['a'], 'x', window=8).shape == bare.shape


def levels(frames):
    return [round(float(frame.mean()) / 20) for frame in frames]


def test_a_video_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / 'new' / 'v.mp4'
    frames = (np.full((31, 45, 3), 20 * i, np.uint8) for i in range(10))
    write_video(path, frames, Fraction(30000, 1001) / 2)
    found = read_frames(path, range(10))
    assert levels(found) == list(range(10))
    assert found[0].shape == (32, 46, 3)
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(14.985, abs=0.02)
    assert [p.name for p in path.parent.iterdir()] == ['v.mp4']


def test_a_video_without_h264(tmp_path, monkeypatch):
    monkeypatch.setattr('av.codecs_available', {'mpeg4'})
    write_video(tmp_path / 'v.mp4', [GREY] * 3, 0.001)
    assert count_frames(tmp_path / 'v.mp4') == 3
    with av.open(str(tmp_path / 'v.mp4')) as container:
        assert container.streams.video[0].codec_context.name == 'mpeg4'


def test_a_video_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / 'v.mp4'
    path.write_bytes(b'old')

    def frames():
        yield GREY
        raise OSError('cut off')

    with pytest.raises(OSError, match='cut off'):
        write_video(path, frames(), 10)
    assert path.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['v.mp4']


def test_frames_of_a_file_and_of_images(tmp_path):
    path = tmp_path / 'v.mp4'
    write_video(path, (np.full((32, 48, 3), 20 * i, np.uint8) for i in range(10)), 24)
    source = FrameSource(path, step=4)
    for _ in range(2):
        names, frames = zip(*source, strict=True)
        assert names == ('00000', '00004', '00008') and levels(frames) == [0, 4, 8]
    assert (len(source), source.rate) == (3, 6)
    files = [str(tmp_path / f'{name}.png') for name in 'abc']
    for i, file in enumerate(files):
        Image.fromarray(np.full((4, 6, 3), 20 * i, np.uint8)).save(file)
    source = FrameSource(files, step=2)
    assert [(name, *levels([frame])) for name, frame in source] == [('a', 0), ('c', 2)]
    assert (len(source), source.rate) == (2, 10)


def test_bad_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match='frame_step is 0'):
        FrameSource('v.mp4', 0)
    with pytest.raises(ValueError, match='zero frames'):
        FrameSource([])
    with pytest.raises(FileNotFoundError, match=r'none\.mp4'):
        FrameSource(tmp_path / 'none.mp4')
    (tmp_path / 'v.mp4').write_text('no video')
    with pytest.raises(VideoError, match=r'v\.mp4: not a video'):
        FrameSource(tmp_path / 'v.mp4')
    files = [str(tmp_path / f'{name}.png') for name in 'ab']
    for file, size in zip(files, ((6, 4), (4, 6)), strict=True):
        Image.new('RGB', size).save(file)
    with pytest.raises(ClipError, match='frame b has 4 x 6 pixels, the first 6 x 4'):
        list(FrameSource(files))


def make_sample(frames=3, exp_id='1', predicted=True, target=None):
    meta = {
        'video_id': 'vid', 'exp_id': exp_id, 'text': 'the dog on the left', 'target': target,
        'frame_names': tuple(f'{5 * i:05d}' for i in range(frames)),
    }  # fmt: skip
    sample = ClipDataSample(metainfo=meta)
    masks = torch.zeros(1 if target is not None else frames, 240, 320, dtype=torch.bool)
    masks[:, 90:150, 110:170] = True
    sample.ori_masks = masks
    if predicted:
        sample.pred_masks = masks.clone()
        sample.pred_masks[:] = False
        sample.pred_masks[:, 20:60, 200:280] = True
        sample.pred_boxes = torch.tensor([[200.0, 20, 280, 60]]).repeat(len(masks), 1)
        sample.pred_scores = torch.full((len(masks),), 0.7)
    return sample, np.full((frames, 120, 160, 3), 128, np.uint8)


def cell_pixel(picture, row, column, y, x, cell=(331, 420)):
    """A pixel in 240 x 320 of the frame in a cell of a filmstrip."""
    top = row * (cell[0] + 8) + cell[0] - 315
    return picture[top + round(y * 315 / 240), column * 428 + round(x * 420 / 320)]


def test_annotation_above_prediction(tmp_path):
    sample, frames = make_sample()
    out = tmp_path / 'new' / 'out.png'
    picture = RVOSVisualizer().add_datasample('a', frames, sample, out_file=str(out))
    np.testing.assert_array_equal(np.asarray(Image.open(out)), picture)
    assert picture.shape[1] == 3 * 420 + 2 * 8
    half = len(picture) // 2
    below = half - 10
    for column in range(3):
        truth = cell_pixel(picture, 0, column, 120, 140)
        assert closeness(truth, 0.45 * np.array(TRUTH_COLOR) + 0.55 * 128) <= 2
        assert (cell_pixel(picture, 0, column, 50, 260) == 128).all()
    lower = picture[below:]
    tinted = 0.45 * np.array(PREDICTION_COLOR) + 0.55 * 128
    assert (np.abs(lower.astype(int) - tinted).max(axis=2) <= 2).sum() > 3 * 1000
    assert (np.abs(lower.astype(int) - TRUTH_COLOR).max(axis=2) < 30).sum() == 0


def test_either_side_alone_and_neither(tmp_path):
    sample, frames = make_sample()
    draw = RVOSVisualizer().add_datasample
    out = str(tmp_path / 'out.png')
    both = draw('a', frames, sample, out_file=out)
    for options in (
        {'draw_gt': False},
        {'draw_pred': False},
        {'draw_gt': False, 'draw_pred': False},
    ):
        assert len(draw('a', frames, sample, out_file=out, **options)) < 0.7 * len(both)
    one = draw('a', frames, sample, out_file=out, max_frames=1)
    assert one.shape[1] == 420


def test_the_annotated_frame_of_a_clip(tmp_path):
    sample, frames = make_sample(frames=9, target=4)
    picture = RVOSVisualizer().add_datasample(
        'a', frames, sample, out_file=str(tmp_path / 'out.png'), max_frames=2, draw_gt=False
    )
    assert picture.shape[1] == 3 * 420 + 2 * 8, 'first, annotated and last'
    tinted = 0.45 * np.array(PREDICTION_COLOR) + 0.55 * 128
    found = [closeness(cell_pixel(picture, 0, i, 50, 260), tinted) <= 2 for i in range(3)]
    assert found == [False, True, False]


def make_runner(folder):
    visualizer = VISUALIZERS.build(
        {
            'type': 'RVOSVisualizer',
            'name': str(folder),
            'vis_backends': [{'type': 'LocalVisBackend'}],
            'save_dir': str(folder),
        }
    )
    return SimpleNamespace(visualizer=visualizer, work_dir=str(folder), iter=7)


def batch(count):
    """What a data loader and a model give: frames as the model takes them, and samples."""
    pairs = [make_sample(exp_id=str(i)) for i in range(count)]
    inputs = [torch.from_numpy(frames).permute(0, 3, 1, 2) for _, frames in pairs]
    return {'inputs': inputs}, [sample for sample, _ in pairs]


def build_hook(**options):
    return HOOKS.build({'type': 'RVOSVisualizationHook', **options})


def test_hook_writes_a_filmstrip_and_a_video_for_each_sentence(tmp_path):
    data, samples = batch(3)
    runner, show = make_runner(tmp_path / 'work'), tmp_path / 'show'
    hook = build_hook(show_dir=str(show), max_images=2, videos=True, max_frames=2)
    for _ in range(2):  # the second test starts counting anew
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, data, samples)
        names = sorted(path.name for path in show.iterdir())
        assert names == ['vid_0.jpg', 'vid_0.mp4', 'vid_1.jpg', 'vid_1.mp4']
        (show / names[0]).unlink()
    assert np.asarray(Image.open(show / 'vid_1.jpg')).shape[1] == 2 * 420 + 8
    overlay = read_frames(show / 'vid_1.mp4', range(3))
    tinted = 0.45 * np.array(PREDICTION_COLOR) + 0.55 * 128
    # frames of 160 pixels are drawn twice as large
    assert closeness(overlay[2][52, 268], tinted) < 12
    hook.after_val_iter(runner, 0, data, samples)
    assert not list((tmp_path / 'work').rglob('*.png'))


def test_hook_without_a_folder_uses_the_work_folder(tmp_path):
    build_hook(draw=True).after_test_iter(make_runner(tmp_path / 'work'), 0, *batch(1))
    assert Path(tmp_path, 'work', 'vis', 'vid_0.jpg').is_file()


def test_hook_is_silent_unless_asked(tmp_path):
    build_hook().after_test_iter(make_runner(tmp_path / 'work'), 0, *batch(1))
    assert not list(tmp_path.rglob('*.jpg'))


def test_hook_gives_some_clips_of_a_validation_to_the_backends(tmp_path):
    runner = make_runner(tmp_path / 'work')
    hook = build_hook(draw=True, val_images=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, *batch(3))
    found = sorted(path.name for path in (tmp_path / 'work').rglob('*.png'))
    assert found == ['val_vid_0_7.png', 'val_vid_1_7.png']
