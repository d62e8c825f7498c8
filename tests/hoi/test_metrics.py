import json
import math

import numpy as np
import pytest
import scipy.io
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from mmvl.hoi import metrics
from mmvl.hoi.metrics import HICODetMetric, count_rare
from mmvl.hoi.splits import RARE, SPLITS, unseen_hois
from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.hoi.vocabulary import COCO_IDS, HOI_INDEX, HOI_OBJECT, HOI_VERB
from mmvl.registry import METRICS

BICYCLE, HORSE, RIDE, HOLD = 1, 17, 76, 36


def sample(img_id, seed=None, file_name=None, count=20):
    """One image in which each interaction has its own pair of boxes; predictions are near it."""
    rng = np.random.default_rng(img_id if seed is None else seed)
    hois = rng.choice(600, size=6, replace=False)
    corner = torch.from_numpy(rng.integers(0, 200, size=(12, 2)).astype(np.float32))
    boxes = torch.cat((corner, corner + 40), dim=1)
    chosen = rng.integers(6, size=count)
    near = (
        boxes.reshape(6, 2, 4)[chosen] + torch.from_numpy(rng.normal(0, 7, (count, 2, 4))).float()
    )
    guess = np.where(rng.random(count) < 0.7, hois[chosen], rng.choice(hois, count))
    data = HOIDataSample(
        metainfo={'img_id': img_id, 'file_name': file_name or f'{img_id}.jpg'},
        gt_instances=InstanceData(
            boxes=boxes,
            labels=torch.stack((torch.zeros(6), torch.from_numpy(HOI_OBJECT[hois])), 1)
            .view(-1)
            .long(),
        ),
        gt_hois=torch.tensor([[2 * i, 2 * i + 1, HOI_VERB[h]] for i, h in enumerate(hois)]),
        pred_pairs=HOIPairs(
            subject_boxes=near[:, 0].contiguous(),
            object_boxes=near[:, 1].contiguous(),
            object_labels=torch.from_numpy(HOI_OBJECT[guess]),
            verbs=torch.from_numpy(HOI_VERB[guess]),
            scores=torch.from_numpy(rng.integers(1, 20, count) / 20).float(),
        ),
    )
    return data


def evaluate(samples, **kwargs):
    metric = HICODetMetric(**kwargs)
    metric.process(None, [s.to_dict() for s in samples])
    return metric.compute_metrics(metric.results)


@pytest.fixture(scope='module')
def samples():
    return [sample(i) for i in range(250)]


def test_through_the_evaluator_of_mmengine(samples):
    evaluator = Evaluator(METRICS.build({'type': 'HICODetMetric', 'unseen': 'uc0'}))
    for start in range(0, len(samples), 16):
        evaluator.process(samples[start : start + 16])
    results = evaluator.evaluate(len(samples))
    assert results == {f'hico/{k}': v for k, v in evaluate(samples, unseen='uc0').items()}
    assert list(results)[:3] == ['hico/mAP', 'hico/mAP_seen', 'hico/mAP_unseen']
    assert 10 < results['hico/mAP'] < 90


@pytest.mark.parametrize('protocol', ['qpic', 'official', 'pocket'])
@pytest.mark.parametrize('split', SPLITS)
def test_full_is_the_weighted_mean_of_the_groups(samples, split, protocol):
    results = evaluate(samples, unseen=split, protocol=protocol)
    present = {
        int(HOI_INDEX[v, s.gt_instances.labels[o]]) for s in samples for _, o, v in s.gt_hois
    }
    unseen = len(present & set(unseen_hois(split).tolist()))
    for name in ('mAP_{}', 'recall_{}'):
        parts = unseen * results[name.format('unseen')]
        parts += (len(present) - unseen) * results[name.format('seen')]
        full = results['mAP' if name == 'mAP_{}' else 'mean_max_recall']
        assert parts / len(present) == pytest.approx(full, rel=1e-12)


def test_groups_without_a_split_are_rare_and_non_rare(samples):
    assert evaluate(samples)['mAP_rare'] == evaluate(samples, unseen='rf_uc_138')['mAP_unseen']
    assert evaluate(samples)['mAP_non_rare'] == evaluate(samples, unseen=RARE)['mAP_seen']


@pytest.mark.parametrize('ranks', [2, 3, 5])
def test_number_of_processes_changes_nothing(samples, ranks):
    # A sampler deals images out in turn and repeats the first ones to fill up.
    padded = samples + samples[: -len(samples) % ranks] + samples[:1] * ranks
    dealt = [s for rank in range(ranks) for s in padded[rank::ranks]]
    assert evaluate(dealt, unseen='ua') == evaluate(samples, unseen='ua')


def test_perfect_predictions_reach_100_and_missing_group_is_nan():
    image = sample(0)
    labels, hois = image.gt_instances.labels, image.gt_hois
    image.pred_pairs = HOIPairs(
        subject_boxes=image.gt_instances.boxes[hois[:, 0]],
        object_boxes=image.gt_instances.boxes[hois[:, 1]],
        object_labels=labels[hois[:, 1]],
        verbs=hois[:, 2].contiguous(),
        scores=torch.ones(len(hois)),
    )
    results = evaluate([image], unseen=[])
    assert results['mAP'] == pytest.approx(100) and results['mAP_seen'] == results['mAP']
    assert math.isnan(results['mAP_unseen'])


def test_known_object_with_and_without_image_labels(samples, tmp_path):
    names = [s.file_name for s in samples]
    labels = np.full((600, len(samples)), -1.0)
    for i, s in enumerate(samples):
        for _, o, v in s.gt_hois:
            labels[HOI_INDEX[v, s.gt_instances.labels[o]], i] = 1
    file = tmp_path / 'anno.mat'
    listed = np.array(names[::-1], dtype=object)[:, None]
    scipy.io.savemat(file, {'anno_test': labels[:, ::-1], 'list_test': listed})
    options = {'protocol': 'official', 'setting': 'known_object'}
    boxes_only = evaluate(samples, **options)
    assert evaluate(samples, **options, image_labels=str(file)) == boxes_only
    default = evaluate(samples, protocol='official')
    assert boxes_only['mAP'] >= default['mAP']
    # One more positive label of another interaction of the same object lets a false positive in.
    victim = samples[0]
    extra = sample(1000)
    extra.pred_pairs = victim.pred_pairs
    extra.pred_pairs.scores = torch.ones(len(victim.pred_pairs))
    stranger = set(victim.pred_pairs.object_labels.tolist())
    stranger -= set(extra.gt_instances.labels[extra.gt_hois[:, 1]].tolist())
    of_stranger = np.flatnonzero(np.isin(HOI_OBJECT, list(stranger)))
    labels = np.concatenate((labels, np.full((600, 1), -1.0)), axis=1)
    labels[of_stranger, -1] = 1
    listed = np.array([*names, extra.file_name], dtype=object)[:, None]
    scipy.io.savemat(file, {'anno_test': labels, 'list_test': listed})
    more = evaluate([*samples, extra], **options, image_labels=str(file))
    assert more['mAP'] < evaluate([*samples, extra], **options)['mAP']
    with pytest.raises(ValueError, match=r"'1001.jpg' is not in list_test"):
        evaluate([sample(1001)], **options, image_labels=str(file))


def test_class_table(samples, tmp_path):
    results = evaluate(samples, unseen='uv', outfile_prefix=str(tmp_path / 'out' / 'toy'))
    table = json.loads((tmp_path / 'out' / 'toy.classes.json').read_text())
    assert np.mean([row['ap'] for row in table]) == pytest.approx(results['mAP'])
    unseen = [row for row in table if row['group'] == 'unseen']
    assert np.mean([row['ap'] for row in unseen]) == pytest.approx(results['mAP_unseen'])
    assert sum(row['num_gt'] for row in table) == 6 * len(samples)
    assert {(r['verb'], r['object']) for r in table} >= {('hold', 'bicycle')} or len(table) > 500


def test_export_for_matlab(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, '_TEST_IMAGES', 5)
    images = [sample(0, file_name='HICO_test2015_00000003.jpg', count=30)]
    evaluate(images, export_dir=str(tmp_path))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f'detections_{i:02d}.mat' for i in range(1, 81)]
    pairs, seen = images[0].pred_pairs, 0
    for number in torch.unique(pairs.object_labels).tolist():
        cells = scipy.io.loadmat(tmp_path / f'detections_{number + 1:02d}.mat')['all_boxes']
        ids = np.flatnonzero(HOI_OBJECT == number)
        assert cells.shape == (len(ids), 5)
        assert cells[0, 0].size == 0
        for row, hoi in enumerate(ids):
            mine = (pairs.object_labels == number) & (pairs.verbs == HOI_VERB[hoi])
            expected = torch.cat(
                (pairs.subject_boxes, pairs.object_boxes, pairs.scores[:, None]), dim=1
            )[mine]
            np.testing.assert_array_equal(cells[row, 2].reshape(-1, 9), expected.numpy())
            seen += int(mine.sum())
    assert seen == 30
    person = scipy.io.loadmat(tmp_path / 'detections_01.mat')['all_boxes']
    assert person.shape[0] == 10


def test_export_of_other_file_names_has_a_column_an_image(tmp_path):
    evaluate([sample(4), sample(2)], export_dir=str(tmp_path))
    cells = [scipy.io.loadmat(file)['all_boxes'] for file in sorted(tmp_path.iterdir())]
    assert {c.shape[1] for c in cells} == {2}
    rows = [sum(c[i, column].shape[0] for c in cells for i in range(len(c))) for column in (0, 1)]
    assert rows == [20, 20]


def test_rare_is_recounted_from_a_training_annotation(tmp_path):
    def image(verb, obj, times):
        box = {'bbox': [0, 0, 9, 9]}
        person, thing = ({**box, 'category_id': int(COCO_IDS[i])} for i in (0, obj))
        hois = [{'subject_id': 0, 'object_id': 1, 'category_id': verb + 1}] * times
        return {'file_name': 'a.jpg', 'annotations': [person, thing], 'hoi_annotation': hois}

    file = tmp_path / 'trainval_hico.json'
    file.write_text(json.dumps([image(RIDE, BICYCLE, 10), image(RIDE, HORSE, 9)]))
    rare = count_rare(str(file))
    assert len(rare) == 599
    assert HOI_INDEX[RIDE, BICYCLE] not in rare and HOI_INDEX[RIDE, HORSE] in rare
    assert HICODetMetric(rare_from=str(file)).groups['non_rare'].tolist() == [16 + 2]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'protocol': 'matlab'}, 'known: qpic, official, pocket'),
        ({'setting': 'ko'}, 'known: default, known_object'),
        ({'setting': 'known_object'}, "use protocol='official'"),
        ({'image_labels': 'anno.mat'}, "setting='known_object'"),
        ({'unseen': 'ua', 'rare_from': 'a.json'}, 'excludes unseen'),
        ({'unseen': 'all'}, 'known splits'),
    ],
)
def test_contradicting_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HICODetMetric(**options)


@pytest.mark.parametrize(
    ('hois', 'message'),
    [
        ([[0, 1, 36], [0, 12, 36]], r'7.jpg: gt_hois\[1\] has a box index outside 0-11'),
        ([[0, 1, 117]], r'gt_hois\[0\] has a verb outside 0-116'),
    ],
)
def test_annotation_out_of_range_names_file_and_row(hois, message):
    image = sample(7)
    image.gt_hois = torch.tensor(hois)
    with pytest.raises(ValueError, match=message):
        HICODetMetric().process(None, [image.to_dict()])


def test_prediction_out_of_range_names_field_and_row():
    image = sample(7)
    image.pred_pairs.verbs[3] = 200
    with pytest.raises(ValueError, match=r'pred_pairs.verbs\[3\] has an id outside 0-116: 200'):
        HICODetMetric().process(None, [image.to_dict()])
