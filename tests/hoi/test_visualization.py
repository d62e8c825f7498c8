"""Pictures of data samples, and the hook that writes them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image

from mmvl.hoi import visualization
from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.hoi.visualization import HOIVisualizer, draw_truth, interaction_text
from mmvl.hoi.vocabulary import NO_INTERACTION, OBJECTS, VERBS
from mmvl.registry import HOOKS, VISUALIZERS

RIDE, HOLD, BICYCLE = VERBS.index('ride'), VERBS.index('hold'), OBJECTS.index('bicycle')


def make_sample(folder, name='a.png', predicted=True):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(100, 150, (640, 800, 3)).astype(np.uint8)
    Image.fromarray(image).save(path)
    sample = HOIDataSample(metainfo={'img_path': str(path), 'file_name': name, 'img_id': 0})
    boxes = torch.tensor([[100.0, 100, 300, 500], [250, 300, 600, 600]])
    sample.gt_instances = InstanceData(boxes=boxes, labels=torch.tensor([0, BICYCLE]))
    sample.gt_hois = torch.tensor([[0, 1, RIDE], [0, 1, HOLD]])
    if predicted:
        sample.pred_pairs = HOIPairs(
            subject_boxes=boxes[:1],
            object_boxes=boxes[1:],
            object_labels=torch.tensor([BICYCLE]),
            verbs=torch.tensor([RIDE]),
            scores=torch.tensor([0.9]),
        )
    return sample, image


@pytest.fixture
def drawn(monkeypatch):
    """Arguments of every call of draw_pairs, which still draws."""
    calls = []
    draw = visualization.draw_pairs

    def spy(image, subjects, objects, texts, scores=None, **options):
        calls.append((subjects.tolist(), objects.tolist(), texts, scores, options))
        return draw(image, subjects, objects, texts, scores, **options)

    monkeypatch.setattr(visualization, 'draw_pairs', spy)
    return calls


def test_text_of_an_interaction():
    assert interaction_text(RIDE, BICYCLE) == 'riding bicycle'
    assert interaction_text(VERBS.index('talk_on'), OBJECTS.index('cell_phone')) == (
        'talking on cell phone'
    )
    assert interaction_text(NO_INTERACTION, BICYCLE) == 'not interacting with bicycle'


def test_truth_shows_all_verbs_of_a_pair(tmp_path, drawn):
    sample, image = make_sample(tmp_path)
    draw_truth(image, sample.gt_instances.boxes, sample.gt_instances.labels, sample.gt_hois)
    subjects, objects, texts, scores, options = drawn[0]
    assert subjects == [[100, 100, 300, 500]] * 2 and objects == [[250, 300, 600, 600]] * 2
    assert texts == ['riding bicycle', 'holding bicycle'] and scores is None
    assert options['max_lines'] >= 117


def test_annotation_left_prediction_right(tmp_path, drawn):
    sample, image = make_sample(tmp_path)
    out = tmp_path / 'new' / 'out.png'
    picture = HOIVisualizer().add_datasample('a', image, sample, out_file=str(out), top_k=3)
    bar = 640 // 25
    assert picture.shape == (640 + bar, 2 * 800 + 8, 3)
    assert np.array_equal(np.asarray(Image.open(out)), picture)
    corner = np.s_[bar + 610 : bar + 640, :50]
    assert np.array_equal(picture[corner], image[610:640, :50])
    assert np.array_equal(picture[:, 808:][corner], image[610:640, :50])
    assert [call[2] for call in drawn] == [
        ['riding bicycle', 'holding bicycle'],
        ['riding bicycle'],
    ]
    assert drawn[1][4] == {'score_threshold': 0.1, 'top_k': 3}


def test_either_side_alone_and_neither(tmp_path):
    sample, image = make_sample(tmp_path)
    visualizer, out = HOIVisualizer(), str(tmp_path / 'out.png')
    for options in ({'draw_gt': False}, {'draw_pred': False}):
        picture = visualizer.add_datasample('a', image, sample, out_file=out, **options)
        assert picture.shape[1] == 800
    bare = HOIDataSample()
    assert np.array_equal(visualizer.add_datasample('a', image, bare, out_file=out), image)


def test_many_true_pairs_are_cut_and_counted():
    hois = torch.tensor([[i, 20, RIDE] for i in range(20)] + [[0, 20, HOLD]])
    assert visualization._truth_title(hois) == 'annotation, the first 12 of 20 pairs'
    assert visualization._truth_title(hois[:3]) == 'annotation'


def build_hook(**options):
    return HOOKS.build({'type': 'HOIVisualizationHook', **options})


def make_runner(folder):
    visualizer = VISUALIZERS.build(
        {
            'type': 'HOIVisualizer',
            'name': str(folder),
            'vis_backends': [{'type': 'LocalVisBackend'}],
            'save_dir': str(folder),
        }
    )
    return SimpleNamespace(visualizer=visualizer, work_dir=str(folder), iter=7)


def test_hook_writes_pictures_of_a_test(tmp_path):
    samples = [make_sample(tmp_path / 'in', f'sub/{i}.png')[0] for i in range(3)]
    runner = make_runner(tmp_path / 'work')
    hook = build_hook(show_dir=str(tmp_path / 'show'), max_images=2)
    for _ in range(2):  # the second test starts counting anew
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, outputs=samples[:1])
        hook.after_test_iter(runner, 1, outputs=samples[1:])
        found = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / 'show').rglob('*.*'))
        assert found == ['show/sub/0.jpg', 'show/sub/1.jpg']
        (tmp_path / found[0]).unlink()
    hook.after_val_iter(runner, 0, outputs=samples)
    assert not list((tmp_path / 'work').rglob('*.png'))


def test_hook_without_a_folder_uses_the_work_folder(tmp_path):
    sample, _ = make_sample(tmp_path)
    hook = build_hook(draw=True)
    hook.after_test_iter(make_runner(tmp_path / 'work'), 0, outputs=[sample])
    assert Path(tmp_path, 'work', 'vis', 'a.jpg').is_file()


def test_hook_is_silent_unless_asked(tmp_path):
    missing = HOIDataSample(metainfo={'img_path': 'nowhere.jpg', 'file_name': 'nowhere.jpg'})
    hook, runner = build_hook(), make_runner(tmp_path)
    hook.after_test_iter(runner, 0, outputs=[missing])
    hook.after_val_iter(runner, 0, outputs=[missing])
    with pytest.raises(FileNotFoundError, match=r'nowhere\.jpg'):
        build_hook(draw=True).after_test_iter(runner, 0, outputs=[missing])


def test_hook_gives_some_validation_images_to_the_backends(tmp_path):
    samples = [make_sample(tmp_path / 'in', f'{i}.png')[0] for i in range(3)]
    runner = make_runner(tmp_path / 'work')
    hook = build_hook(draw=True, val_images=2)
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=samples)
    assert sorted(p.name for p in (tmp_path / 'work').rglob('*.png')) == [
        'val_0_7.png',
        'val_1_7.png',
    ]
