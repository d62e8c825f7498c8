"""IoU of voxels, RayIoU and errors of flow on grids small enough to count by hand."""

import numpy as np
import pytest
import torch

from mmvl.occupancy import ray_iou
from mmvl.occupancy.datasets.classes import MOVABLE, OCC3D, OPENOCC
from mmvl.occupancy.metrics import OccupancyMIoU, RayIoUMetric
from mmvl.occupancy.structures import OccupancySample
from mmvl.registry import METRICS

FREE = 17
CAR, ROAD = OCC3D.index('car'), OCC3D.index('driveable_surface')
SHAPE = (4, 4, 2)
RAYS = {'lower': (-4, -4, -1), 'voxel_size': 0.8}


def sample(index, pred, truth, mask=None, **fields):
    """What a metric gets of one sample."""
    found = OccupancySample(metainfo={'sample_index': index, 'sample_token': f's{index}'})
    found.pred_semantics = torch.as_tensor(pred, dtype=torch.uint8)
    found.gt_semantics = torch.as_tensor(truth, dtype=torch.int64)
    found.gt_mask_camera = torch.ones(truth.shape, dtype=torch.bool) if mask is None else mask
    for name, value in fields.items():
        if name == 'ray_origins':
            found.set_metainfo({name: value})
        else:
            setattr(found, name, value)
    return found.to_dict()


def evaluate(metric, samples, classes=OCC3D):
    metric.dataset_meta = {'classes': classes}
    metric.process(None, samples)
    return {k.removeprefix('occ/'): v for k, v in metric.evaluate(len(samples)).items()}


def toy_truth():
    truth = np.full(SHAPE, FREE)
    truth[:, :, 0] = ROAD  # 16 voxels
    truth[1, 1:3, 1] = CAR  # 2 voxels
    return truth


def test_identity_is_perfect_and_absent_classes_drop_out():
    truth = toy_truth()
    found = evaluate(OccupancyMIoU(), [sample(0, truth, truth)])
    assert found == {'mIoU': 100, 'mIoU_D': 100, 'IoU': 100}


def test_nothing_but_free_space():
    truth = toy_truth()
    found = evaluate(OccupancyMIoU(), [sample(0, np.full(SHAPE, FREE), truth)])
    assert found == {'mIoU': 0, 'mIoU_D': 0, 'IoU': 0}


def test_hand_counted_shift():
    """Moved by one voxel along x: 1 of 3 car voxels... none agrees, all of the road does."""
    truth, pred = toy_truth(), np.roll(toy_truth(), 1, axis=1)
    found = evaluate(OccupancyMIoU(per_class=True), [sample(0, pred, truth)])
    assert found['IoU_car'] == pytest.approx(100 / 3)  # one of two in common
    assert found['IoU_driveable_surface'] == 100
    assert found['IoU_free'] == pytest.approx(100 * 13 / 15)
    assert np.isnan(found['IoU_bus'])
    assert found['mIoU'] == pytest.approx((100 / 3 + 100) / 2)
    assert found['mIoU_D'] == pytest.approx(100 / 3)
    assert found['IoU'] == pytest.approx(100 * 17 / 19)


def test_counts_are_summed_before_they_are_divided():
    truth, wrong = toy_truth(), np.full(SHAPE, FREE)
    found = evaluate(
        OccupancyMIoU(per_class=True), [sample(0, truth, truth), sample(1, wrong, truth)]
    )
    assert found['IoU_car'] == 50 and found['IoU_driveable_surface'] == 50
    few = truth.copy()
    few[2:] = FREE  # 8 of 16, and all of the cars
    found = evaluate(
        OccupancyMIoU(per_class=True), [sample(0, truth, truth), sample(1, few, truth)]
    )
    assert found['IoU_driveable_surface'] == 75 and found['IoU_car'] == 100


def test_confusion_matrix_of_permuted_classes():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 18, SHAPE)
    swap = rng.permutation(18)
    metric = OccupancyMIoU()
    metric.dataset_meta = {'classes': OCC3D}
    matrix = metric.count(sample(0, swap[truth], truth))[:-4].reshape(18, 18)
    numbers = np.bincount(truth.ravel(), minlength=18)
    expected = np.zeros((18, 18), int)
    expected[np.arange(18), swap] = numbers
    np.testing.assert_array_equal(matrix, expected)


def test_mask_and_unsupervised_voxels():
    truth, pred = toy_truth(), toy_truth()
    pred[3] = FREE
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[3] = False
    assert evaluate(OccupancyMIoU(), [sample(0, pred, truth, mask)])['mIoU'] == 100
    assert evaluate(OccupancyMIoU(mask=None), [sample(0, pred, truth, mask)])['mIoU'] < 100
    truth[3] = 255
    found = evaluate(OccupancyMIoU(mask=None), [sample(0, pred, truth)])
    # the released evaluation: 8 unknown voxels count as occupied, and were not found
    assert found['mIoU'] == 100 and found['IoU'] == pytest.approx(100 * 14 / 22)
    ours = OccupancyMIoU(mask=None, ignore_in_binary=True)
    assert evaluate(ours, [sample(0, pred, truth)])['IoU'] == 100


def test_another_mask_by_its_name():
    truth, pred = toy_truth(), toy_truth()
    pred[0] = FREE
    hidden = torch.zeros(SHAPE, dtype=torch.bool)
    hidden[1] = True
    fields = {'gt_mask_occluded': hidden}
    found = evaluate(OccupancyMIoU(mask='occluded'), [sample(0, pred, truth, **fields)])
    assert found['mIoU'] == 100
    with pytest.raises(KeyError, match='sample s0: no gt_mask_remembered'):
        evaluate(OccupancyMIoU(mask='remembered'), [sample(0, pred, truth)])


def test_grids_that_differ_are_refused():
    with pytest.raises(ValueError, match=r's3: a grid of \(4, 4, 1\) voxels is compared with'):
        metric = OccupancyMIoU()
        metric.dataset_meta = {'classes': OCC3D}
        truth = toy_truth()
        one = {'pred_semantics': truth[..., :1], 'gt_semantics': truth, 'sample_token': 's3'}
        metric.count(one)
    with pytest.raises(ValueError, match='names no classes'):
        OccupancyMIoU().count({})


@pytest.fixture(scope='module')
def scenes():
    """Random grids with flow and origins."""
    samples = []
    for index in range(4):
        rng = np.random.default_rng(index)
        truth = np.full((10, 10, 4), 16)
        truth[:, :, 0] = 10
        at = rng.integers(0, 9, (6, 2))
        truth[at[:, 0], at[:, 1], 1:3] = rng.integers(0, 10, (6, 1))
        pred = np.where(rng.random(truth.shape) < 0.9, truth, np.roll(truth, 1, 0))
        flows = {
            name: torch.from_numpy(rng.normal(0, 2, (*truth.shape, 2)).astype(np.float32))
            for name in ('pred_flow', 'gt_flow')
        }
        places = rng.uniform(-1, 1, (1 + (index == 2), 3))
        places[:, 2] = 1.8  # above everything
        samples.append(sample(index, pred, truth, ray_origins=places, **flows))
    return samples


def metrics():
    return [OccupancyMIoU(mask=None), RayIoUMetric(flow=True, **RAYS)]


@pytest.mark.parametrize('number', [0, 1])
def test_order_repetition_and_processes_do_not_matter(scenes, number, monkeypatch):
    alone = evaluate(metrics()[number], scenes, OPENOCC)
    shuffled = [scenes[i] for i in (3, 1, 0, 2)]
    assert evaluate(metrics()[number], shuffled, OPENOCC) == alone
    # two processes, of which one has more samples, and one is repeated
    shares = []
    for share in ([3, 0, 1], [2, 0]):
        metric = metrics()[number]
        metric.dataset_meta = {'classes': OPENOCC}
        metric.process(None, [scenes[i] for i in share])
        shares.append(metric.results)
    monkeypatch.setattr('mmvl.occupancy.metrics.all_gather_object', lambda _: shares)
    together = {k.removeprefix('occ/'): v for k, v in metric.evaluate(4).items()}
    assert together == alone and len(alone) >= 3


def test_labels_against_themselves(scenes):
    same = []
    for each in scenes:
        same.append({**each, 'pred_semantics': each['gt_semantics'], 'pred_flow': each['gt_flow']})
    found = evaluate(RayIoUMetric(flow=True, **RAYS), same, OPENOCC)
    for name in ('RayIoU', 'RayIoU@1', 'RayIoU@2', 'RayIoU@4', 'occ_score'):
        assert found[name] == pytest.approx(100)
    assert found['mAVE'] == found['mAVE_TP'] == found['mAVE_ray'] == 0


def test_free_prediction_scores_nothing(scenes):
    empty = torch.full((10, 10, 4), 16, dtype=torch.uint8)
    found = evaluate(RayIoUMetric(**RAYS), [{**scenes[0], 'pred_semantics': empty}], OPENOCC)
    assert found == {'RayIoU': 0, 'RayIoU@1': 0, 'RayIoU@2': 0, 'RayIoU@4': 0}


def test_score_is_made_of_both_parts(scenes):
    found = evaluate(RayIoUMetric(flow=True, per_class=True, **RAYS), scenes, OPENOCC)
    score = 0.9 * found['RayIoU'] + 10 * max(1 - found['mAVE_TP'], 0)
    assert found['occ_score'] == pytest.approx(score)
    mean = np.mean([found[f'RayIoU@{t}'] for t in (1, 2, 4)])
    assert found['RayIoU'] == pytest.approx(mean, abs=1e-9)
    assert 0 < found['RayIoU@1'] <= found['RayIoU@2'] <= found['RayIoU@4'] < 100
    assert found['RayIoU@2_driveable_surface'] > 50
    # published: 0.9 * 0.419 + 0.1 * (1 - 0.458) = 0.431
    assert 0.9 * 41.9 + 10 * (1 - 0.458) == pytest.approx(43.1, abs=0.05)


def test_error_over_all_rays_is_another_number(scenes):
    usual = evaluate(RayIoUMetric(flow=True, **RAYS), scenes[:1], OPENOCC)
    server = evaluate(RayIoUMetric(flow=True, flow_error='all_rays', **RAYS), scenes[:1], OPENOCC)
    assert usual['RayIoU'] == server['RayIoU'] and usual['mAVE_TP'] != server['mAVE_TP']
    one = scenes[0]
    hits = [
        ray_iou.cast_rays(
            one[f'{side}_semantics'].numpy(),
            one['ray_origins'],
            one[f'{side}_flow'].numpy(),
            num_classes=17,
            **RAYS,
        )
        for side in ('pred', 'gt')
    ]
    kept = hits[1].label != 16
    apart = np.linalg.norm(hits[0].flow[kept] - hits[1].flow[kept], axis=1)
    assert server['mAVE_TP'] == pytest.approx(apart.mean(), rel=1e-6)
    with pytest.raises(ValueError, match='flow_error'):
        RayIoUMetric(flow_error='median')


def test_rays_measure_to_the_far_side():
    """A wall from x = 8 m to 8.4 m, seen level from zero: distance 8.4 m over the cosine."""
    truth = np.full((100, 40, 16), 16)
    truth[60, :, :] = 14
    lower = (-16.0, -8.0, -1.0)
    hits = ray_iou.cast_rays(truth, np.array([[0.05, 0.05, 0.0]]), num_classes=17, lower=lower)
    ways = ray_iou.ray_directions()
    ahead = (ways[:, 0] > 0.9) & (hits.label == 14)
    assert ahead.sum() > 100
    # up to 1 % of the rays leave the wall through another side of their voxel
    exact = 8.35 / ways[ahead, 0]
    assert (hits.distance[ahead] <= exact + 1e-4).all()
    assert (np.abs(hits.distance[ahead] - exact) < 1e-4).mean() > 0.5
    assert (hits.label[ways[:, 0] < -0.9] == 16).all()


def test_directions():
    ways = ray_iou.ray_directions()
    assert ways.shape == (39 * 360, 3) and ways.dtype == np.float32
    pitch = np.arcsin(ways[::360, 2].astype(float))
    assert pitch[0] == pytest.approx(-np.pi / 4) and pitch[-1] == pytest.approx(0.219, abs=5e-4)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1, atol=1e-6)


def test_distance_must_be_less_than_the_threshold():
    labels = np.array([0, 0, 0, 0])
    truth = ray_iou.RayHits(labels, np.float32([10, 10, 10, 10]), np.zeros((4, 3), int))
    pred = ray_iou.RayHits(labels, np.float32([10.5, 11, 13.9, 6]), np.zeros((4, 3), int))
    counts = ray_iou.count_rays(pred, truth, 17)
    assert counts.matched[:, 0].tolist() == [1, 2, 3]
    assert ray_iou.summarise(counts)['iou'][:, 0].tolist() == [1 / 7, 2 / 6, 3 / 5]


def test_rays_into_free_space_cost_nothing():
    truth = ray_iou.RayHits(np.array([16, 3]), np.float32([5, 5]), np.zeros((2, 3), int))
    pred = ray_iou.RayHits(np.array([3, 3]), np.float32([5, 5]), np.zeros((2, 3), int))
    counts = ray_iou.count_rays(pred, truth, 17)
    assert counts.predicted[3] == 1 and ray_iou.summarise(counts)['iou'][0, 3] == 1


def test_rays_that_end_outside_of_a_mask_drop_out():
    grid = np.full((10, 10, 4), FREE)
    grid[8], grid[:, 8] = 3, 5
    pred = grid.copy()
    pred[:, 8] = 4
    sample = {
        'sample_index': 0,
        'pred_semantics': pred,
        'gt_semantics': grid,
        'gt_mask_occluded': grid == 3,
        'ray_origins': np.array([[2.5, 2.5, 2.0]]),
    }
    metric = RayIoUMetric(lower=(0, 0, 0), voxel_size=1.0, mask='occluded')
    metric.dataset_meta = {'classes': OCC3D}
    counts = metric.count(sample)
    assert counts.truth[3] == counts.matched[0, 3] > 0
    assert counts.truth.sum() == counts.truth[3] and counts.predicted[4] == 0
    del sample['gt_mask_occluded']
    with pytest.raises(KeyError, match='gt_mask_occluded'):
        metric.count(sample)


def test_registered():
    assert METRICS.get('OccupancyMIoU') is OccupancyMIoU
    assert METRICS.get('RayIoUMetric') is RayIoUMetric
    assert OPENOCC[:8] == MOVABLE
