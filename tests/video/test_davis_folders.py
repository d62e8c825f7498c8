"""The folders of DAVIS: which frames, objects and pixels count."""

import numpy as np
import pytest
from PIL import Image

from mmvl.video.davis_folders import FolderError, evaluate_folders

SHAPE = (60, 80)
CORNERS = {1: (5, 5), 2: (30, 40)}


def labels(numbers=(1, 2), shape=SHAPE):
    """Two squares of 20 pixels; ``numbers`` are their labels."""
    found = np.zeros(shape, np.uint8)
    for number, (y, x) in zip(numbers, CORNERS.values(), strict=True):
        found[y : y + 20, x : x + 20] = number
    return found


def write(folder, maps):
    folder.mkdir(parents=True)
    for i, each in enumerate(maps):
        Image.fromarray(each).save(folder / f'{i:05d}.png')


def evaluate(tmp_path, pred, truth, task='unsupervised'):
    write(tmp_path / 'results/dog', pred)
    write(tmp_path / 'truth/dog', truth)
    return evaluate_folders(tmp_path / 'results', tmp_path / 'truth', ['dog'], task)


def test_exchanged_labels_do_not_matter_without_supervision(tmp_path):
    summary, objects = evaluate(tmp_path, [labels((2, 1))] * 4, [labels()] * 4)
    assert summary['J&F-Mean'] == 1 and [each.name for each in objects] == ['dog_1', 'dog_2']


def test_exchanged_labels_are_wrong_with_supervision(tmp_path):
    summary, _ = evaluate(tmp_path, [labels((2, 1))] * 4, [labels()] * 4, 'semi-supervised')
    assert summary['J&F-Mean'] == 0


def test_first_and_last_frame_count_only_without_supervision(tmp_path):
    nothing = np.zeros(SHAPE, np.uint8)
    pred = [nothing, labels(), labels(), nothing]
    supervised, _ = evaluate(tmp_path / 'a', pred, [labels()] * 4, 'semi-supervised')
    assert supervised['J-Mean'] == 1
    unsupervised, _ = evaluate(tmp_path / 'b', pred, [labels()] * 4)
    assert unsupervised['J-Mean'] == unsupervised['J-Recall'] == 0.5


def test_void_and_surplus_proposals_cost_nothing(tmp_path):
    truth, pred = labels(), labels()
    truth[25:30] = 255
    pred[25:30] = 1
    pred[55:, :10] = 7
    assert evaluate(tmp_path, [pred] * 3, [truth] * 3)[0]['J&F-Mean'] == 1


def test_objects_of_later_frames_are_not_evaluated(tmp_path):
    """The first frame shows object 1 alone."""
    summary, objects = evaluate(
        tmp_path, [labels((1, 0))] * 3, [labels((1, 0)), labels(), labels()]
    )
    assert len(objects) == 1 and summary['J&F-Mean'] == 1


def test_missing_object_has_no_score(tmp_path):
    summary, objects = evaluate(tmp_path, [labels((1, 0))] * 3, [labels()] * 3)
    assert summary['J-Mean'] == 0.5 and len(objects) == 2


@pytest.mark.parametrize(
    ('pred', 'message'),
    [
        ([labels()] * 2, r'Missing frame: .*dog/00002\.png'),
        ([labels(shape=(60, 81))] * 3, r'00000\.png is \(60, 81\) .* annotation \(60, 80\)'),
        ([labels((1, 21))] * 3, 'label 21, but at most 20'),
        ([labels().astype(np.uint16)] * 3, 'no label map of 8 bits, but I;16'),
    ],
)
def test_refused(tmp_path, pred, message):
    with pytest.raises(FolderError, match=message):
        evaluate(tmp_path, pred, [labels()] * 3)


def test_label_above_the_annotation_is_refused_with_supervision(tmp_path):
    with pytest.raises(FolderError, match='label 3, but at most 2'):
        evaluate(tmp_path, [labels((1, 3))] * 3, [labels()] * 3, 'semi-supervised')


def test_two_frames_are_too_few_with_supervision(tmp_path):
    with pytest.raises(FolderError, match='dog: without the first and last frame, none is left'):
        evaluate(tmp_path, [labels()] * 2, [labels()] * 2, 'semi-supervised')


def test_unknown_sequence_and_task(tmp_path):
    with pytest.raises(FileNotFoundError, match='No annotation: .*cat'):
        evaluate_folders(tmp_path, tmp_path, ['cat'])
    with pytest.raises(ValueError, match="unknown task 'tracking'"):
        evaluate_folders(tmp_path, tmp_path, ['cat'], 'tracking')
