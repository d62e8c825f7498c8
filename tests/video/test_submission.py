"""Folders and archives that servers and released evaluations read."""

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.video.davis_folders import FolderError
from mmvl.video.structures import ClipDataSample
from mmvl.video.submission import (
    RefDAVIS17Submission,
    RefYouTubeVOSSubmission,
    SubmissionError,
    merge_objects,
    palette,
)

SHAPE = (20, 30)
FRAMES = ('00000', '00005', '00010')


def box(left, frames=FRAMES, shape=SHAPE):
    """A square that moves down a pixel a frame."""
    masks = torch.zeros(len(frames), *shape, dtype=torch.bool)
    for t, mask in enumerate(masks):
        mask[4 + t : 12 + t, left : left + 8] = True
    return masks


def sample(masks, video='dog', exp_id='0', frames=FRAMES, shape=SHAPE, high=0.9, low=0.2):
    meta = dict(video_id=video, exp_id=exp_id, frame_names=frames, ori_shape=shape)
    found = ClipDataSample(metainfo=meta)
    found.pred_masks = masks
    found.pred_probs = torch.where(masks, high, low)
    return found.to_dict()


def read(path):
    with Image.open(path) as image:
        return image.mode, np.array(image)


def run(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def contents(folder):
    """Path -> bytes of all files of a folder."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_tree_and_archive_of_ref_youtube_vos(tmp_path):
    samples = [sample(box(3), exp_id='0'), sample(box(9), exp_id='1'), sample(box(5), 'cat', '0')]
    assert run(RefYouTubeVOSSubmission(str(tmp_path)), samples) == {}
    mode, values = read(tmp_path / 'Annotations/dog/1/00005.png')
    assert mode == 'L'
    assert (values == np.where(box(9)[1], 255, 0)).all()
    with zipfile.ZipFile(tmp_path / 'submission.zip') as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    said = [('cat', '0'), ('dog', '0'), ('dog', '1')]
    assert names == [f'Annotations/{v}/{e}/{f}.png' for v, e in said for f in FRAMES]
    assert not [name for name in contents(tmp_path) if 'tmp' in name]


def test_archive_holds_this_run_only(tmp_path):
    run(RefYouTubeVOSSubmission(str(tmp_path)), [sample(box(3), 'old')])
    run(RefYouTubeVOSSubmission(str(tmp_path)), [sample(box(3), 'new')])
    with zipfile.ZipFile(tmp_path / 'submission.zip') as archive:
        assert {name.split('/')[1] for name in archive.namelist()} == {'new'}


def test_a_lost_mask_leaves_no_archive(tmp_path):
    metric = RefYouTubeVOSSubmission(str(tmp_path))
    metric.process(None, [sample(box(3))])
    (tmp_path / 'Annotations/dog/0/00005.png').unlink()
    with pytest.raises(SubmissionError, match=r'Missing: .*dog/0/00005\.png'):
        metric.compute_metrics(metric.results)
    assert [*contents(tmp_path)] == [f'Annotations/dog/0/{f}.png' for f in ('00000', '00010')]


@pytest.mark.parametrize('kind', [RefYouTubeVOSSubmission, RefDAVIS17Submission])
def test_unfit_predictions_are_refused(tmp_path, kind):
    metric = kind(str(tmp_path))
    with pytest.raises(
        SubmissionError, match=r'dog, sentence 0: .* \(3, 20, 31\), .*\(3, 20, 30\)'
    ):
        metric.process(None, [sample(box(3, shape=(20, 31)))])
    with pytest.raises(SubmissionError, match=r'\(2, 20, 30\), the video \(3, 20, 30\)'):
        metric.process(None, [sample(box(3, frames=FRAMES[:2]))])
    meta = dict(video_id='dog', exp_id='0', frame_names=FRAMES, ori_shape=SHAPE)
    with pytest.raises(SubmissionError, match=r'no pred_(masks|probs)'):
        metric.process(None, [ClipDataSample(metainfo=meta).to_dict()])
    with pytest.raises(SubmissionError, match='no sentence'):
        metric.compute_metrics(metric.results)
    assert contents(tmp_path) == {}


def pixels(*values):
    """Probabilities (1, 1, len(values)) of one object."""
    return np.array(values, np.float32)[None, None]


def test_merging():
    """The highest of at least 0.5 wins, the lower number of equal ones, else the background."""
    first = pixels(0.49, 0.5, 0.7, 0.6, 0.2, 1.0)
    second = pixels(0.45, 0.1, 0.7, 0.8, 0.5, 0.99)
    assert merge_objects([first, second]).tolist() == [[[0, 1, 1, 2, 2, 1]]]
    assert merge_objects([first.astype(np.float32)]).tolist() == [[[0, 1, 1, 1, 0, 1]]]


def test_what_cannot_be_merged():
    with pytest.raises(SubmissionError, match='no object'):
        merge_objects([])
    with pytest.raises(SubmissionError, match=r'\(1, 1, 1\) and \(1, 1, 2\)'):
        merge_objects([pixels(1), pixels(1, 1)])
    with pytest.raises(SubmissionError, match='at most 254'):
        merge_objects(pixels(1) for _ in range(255))


def test_palette():
    colors = palette()
    assert colors.shape == (256, 3) and colors.dtype == np.uint8
    assert colors[:5].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128]]
    assert colors[20].tolist() == [0, 64, 128] and colors[255].tolist() == [224, 224, 192]


def davis(video='dog', lefts=(2, 18), shift=(0, 0, 0, 0)):
    """Four sentences about each object; stream k is ``shift[k]`` pixels off."""
    numbers = range(4 * len(lefts))
    return [sample(box(lefts[i // 4] + shift[i % 4]), video, str(i)) for i in numbers]


def write_truth(folder, video='dog', lefts=(2, 18)):
    (folder / video).mkdir(parents=True)
    for t, frame in enumerate(FRAMES):
        labels = np.zeros(SHAPE, np.uint8)
        for number, left in enumerate(lefts, 1):
            labels[box(left)[t].numpy()] = number
        Image.fromarray(labels).save(folder / video / f'{frame}.png')
    return str(folder)


def test_truth_as_prediction_of_ref_davis(tmp_path):
    """Sentences come in any order, and of several videos in turn."""
    write_truth(tmp_path / 'truth')
    truth = write_truth(tmp_path / 'truth', 'cat', (10,))
    samples = davis()[::-1] + davis('cat', (10,))
    results = run(RefDAVIS17Submission(str(tmp_path / 'out'), truth), samples[::2] + samples[1::2])
    assert set(results.values()) == {100.0} and len(results) == 3 + 4 * 3
    written = contents(tmp_path / 'out')
    streams = [f'anno_{k}' for k in range(4)]
    videos = ('dog', 'cat')
    assert {*written} == {f'{s}/{v}/{f}.png' for s in streams for v in videos for f in FRAMES}
    mode, labels = read(tmp_path / 'out/anno_2/dog/00010.png')
    assert mode == 'P' and (labels == read(tmp_path / 'truth/dog/00010.png')[1]).all()
    with Image.open(tmp_path / 'out/anno_2/dog/00010.png') as image:
        assert image.getpalette()[3:6] == [128, 0, 0]


def test_streams_stay_apart_and_are_averaged(tmp_path):
    """Stream 1 is off by 4 of 8 columns: J is 1 / 3."""
    truth = write_truth(tmp_path / 'truth', lefts=(2,))
    results = run(RefDAVIS17Submission(str(tmp_path), truth), davis(lefts=(2,), shift=(0, 4, 0, 0)))
    region = [results[f'anno_{k}_J'] for k in range(4)]
    assert region == pytest.approx([100, 100 / 3, 100, 100])
    assert results['J'] == pytest.approx(250 / 3)
    assert results['J&F'] == pytest.approx((results['J'] + results['F']) / 2)


def test_writing_needs_no_truth(tmp_path):
    assert run(RefDAVIS17Submission(str(tmp_path)), davis()) == {}
    assert (tmp_path / 'anno_3/dog/00000.png').is_file()


def test_objects_may_overlap(tmp_path):
    """Where both squares are, the surer one wins, though its number is higher."""
    samples = davis(lefts=(2, 6))
    surer = sample(box(6), exp_id='4', high=0.95)
    run(RefDAVIS17Submission(str(tmp_path)), [*samples[:4], surer, *samples[5:]])
    first, second = (read(tmp_path / f'anno_{k}/dog/00000.png')[1] for k in (0, 1))
    assert (first[5, 6:10] == 2).all()  # of 0.9 and 0.95
    assert (second[5, 6:10] == 1).all()  # equal


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s[:5] + s[6:], 'dog: no prediction for sentence 5 of 8'),
        (lambda s: [*s[:7], sample(box(2, ('a',)), exp_id='7', frames=('a',))], 'different frames'),
    ],
)
def test_incomplete_videos_are_refused(tmp_path, change, message):
    metric = RefDAVIS17Submission(str(tmp_path))
    metric.process(None, change(davis()))
    with pytest.raises(SubmissionError, match=message):
        metric.compute_metrics(metric.results)
    assert not list(tmp_path.glob('anno_*'))


def test_sentences_must_be_numbers(tmp_path):
    with pytest.raises(SubmissionError, match="sentence left: .*'left' is no number"):
        RefDAVIS17Submission(str(tmp_path)).process(None, [sample(box(2), exp_id='left')])


def test_truth_of_other_frames_is_refused(tmp_path):
    truth = write_truth(tmp_path / 'truth')
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(tmp_path / 'truth/dog/00015.png')
    with pytest.raises(FolderError, match=r'Missing frame: .*anno_0/dog/00015\.png'):
        run(RefDAVIS17Submission(str(tmp_path / 'out'), truth), davis())


@pytest.mark.parametrize('kind', [RefYouTubeVOSSubmission, RefDAVIS17Submission])
def test_two_processes_write_what_one_writes(tmp_path, kind):
    """Process 1 has the other half of the sentences, and one of process 0 again."""
    samples = davis() + davis('cat', (10, 20))
    run(kind(str(tmp_path / 'one')), samples)
    parts = [kind(str(tmp_path / 'two')) for _ in range(2)]
    parts[1].process(None, samples[1::2] + samples[:1])
    parts[0].process(None, samples[::2])
    parts[0].compute_metrics(parts[1].results + parts[0].results)
    assert contents(tmp_path / 'two') == contents(tmp_path / 'one')
