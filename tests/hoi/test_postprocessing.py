import numpy as np
import pytest
import torch

from mmvl.hoi.postprocessing import pair_nms, select_triplets
from mmvl.hoi.vocabulary import VALID

BICYCLE, RIDE, HOLD = 1, 76, 36


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def random_pairs(seed, count, levels):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, count, 2, generator=generator) * 6
    size = torch.rand(2, count, 2, generator=generator) * 20 + 4
    both = torch.cat((corner, corner + size), dim=-1)
    scores = torch.rand(count, generator=generator).mul(levels).floor() / levels
    return both[0], both[1], scores, torch.randint(4, (count,), generator=generator)


def slow_nms(subjects, objects, scores, triplets, threshold, alpha, beta):
    """Pair after pair: the rule as a reader would do it by hand."""

    def iou(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0]) + 1
        h = min(a[3], b[3]) - max(a[1], b[1]) + 1
        inter = max(w, 0.0) * max(h, 0.0)
        area = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
        return inter / (area[0] + area[1] - inter)

    kept = []
    for triplet in dict.fromkeys(triplets.tolist()):
        group = [i for i, t in enumerate(triplets.tolist()) if t == triplet]
        group.sort(key=lambda i: (-scores[i].item(), -i))
        alive = []
        for i in group:
            s, o = subjects[i].tolist(), objects[i].tolist()
            overlaps = [
                iou(s, subjects[j].tolist()) ** alpha * iou(o, objects[j].tolist()) ** beta
                for j in alive
            ]
            if all(value <= threshold for value in overlaps):
                alive.append(i)
        kept += alive
    return sorted(kept, key=lambda i: -scores[i].item())


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('threshold', [0.2, 0.5])
def test_nms_keeps_what_the_rule_keeps(seed, threshold):
    pairs = random_pairs(seed, 60, levels=7)
    kept = pair_nms(*pairs, threshold=threshold, alpha=1.0, beta=0.5)
    assert kept.tolist() == slow_nms(*pairs, threshold, 1.0, 0.5)
    assert 4 <= len(kept) < 60


def test_nms_compares_within_a_triplet_only_and_keeps_the_later_of_equals():
    same = boxes([0, 0, 9, 9]).expand(4, 4)
    kept = pair_nms(same, same, torch.tensor([0.5, 0.5, 0.5, 0.9]), torch.tensor([7, 8, 7, 8]))
    assert kept.tolist() == [3, 2]


def test_nms_chain_a_suppressed_pair_does_not_suppress():
    # Neighbours overlap by 8/12 = 0.67, the outer two by 6/14 = 0.43.
    subjects = boxes([0, 0, 9, 9], [2, 0, 11, 9], [4, 0, 13, 9])
    objects = boxes([0, 0, 9, 9]).expand(3, 4)
    scores, triplets = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    assert pair_nms(subjects, objects, scores, triplets, threshold=0.6).tolist() == [0, 2]
    assert pair_nms(subjects, objects, scores, triplets, threshold=0.7).tolist() == [0, 1, 2]


def test_nms_counts_pixels_and_weighs_objects_by_their_exponent():
    subjects = boxes([0, 0, 9, 9], [0, 0, 9, 9])
    objects = boxes([0, 0, 9, 9], [0, 0, 9, 4])  # 50 of 100 pixels
    scores, triplets = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert pair_nms(subjects, objects, scores, triplets, 0.70, beta=0.5).tolist() == [0]
    assert pair_nms(subjects, objects, scores, triplets, 0.71, beta=0.5).tolist() == [0, 1]
    assert pair_nms(subjects, objects, scores, triplets, 0.49, beta=1.0).tolist() == [0]
    assert pair_nms(subjects, objects, scores, triplets, 0.50, beta=1.0).tolist() == [0, 1]


def test_nms_of_nothing():
    empty = torch.zeros(0, 4)
    kept = pair_nms(empty, empty, torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert kept.shape == (0,) and kept.dtype == torch.int64


def random_queries(seed, batch=3, queries=9, levels=5):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(batch, queries, 117, generator=generator).mul(levels).floor() / levels
    labels = torch.randint(80, (batch, queries), generator=generator)
    corners = torch.rand(2, batch, queries, 4, generator=generator) * 50
    return scores, labels, corners[0], corners[1]


@pytest.mark.parametrize('seed', range(5))
def test_selection_is_a_stable_sort_of_the_masked_scores(seed):
    scores, labels, subjects, objects = random_queries(seed)
    for image, pairs in enumerate(select_triplets(scores, labels, subjects, objects)):
        masked = scores[image].numpy() * VALID.T[labels[image].numpy()]
        ranked = sorted(range(masked.size), key=lambda i: -masked.flat[i])[:100]
        ranked = [i for i in ranked if VALID[i % 117, labels[image, i // 117]]]
        assert pairs.verbs.tolist() == [i % 117 for i in ranked]
        assert torch.equal(pairs.object_labels, labels[image, [i // 117 for i in ranked]])
        assert torch.equal(pairs.subject_boxes, subjects[image, [i // 117 for i in ranked]])
        assert torch.equal(pairs.object_boxes, objects[image, [i // 117 for i in ranked]])
        np.testing.assert_array_equal(pairs.scores.numpy(), masked.ravel()[ranked])


def test_image_of_a_batch_equals_the_image_alone():
    fields = random_queries(3)
    together = select_triplets(*fields, nms={})
    for image in range(3):
        alone = select_triplets(*(field[image : image + 1] for field in fields), nms={})[0]
        for name in alone.keys():
            assert torch.equal(alone[name], together[image][name])


def test_cut_comes_before_nms():
    scores = torch.zeros(1, 3, 117)
    scores[0, :, RIDE] = torch.tensor([0.9, 0.8, 0.7])
    labels = torch.full((1, 3), BICYCLE)
    box = boxes([0, 0, 9, 9]).expand(1, 3, 4)
    pairs = select_triplets(scores, labels, box, box, max_per_img=2, nms={'threshold': 0.7})[0]
    assert pairs.scores.tolist() == pytest.approx([0.9])
    assert select_triplets(scores, labels, box, box, max_per_img=2)[0].verbs.tolist() == [RIDE] * 2


def test_impossible_pairs_never_come_out():
    scores = torch.ones(1, 1, 117)
    box = boxes([0, 0, 9, 9])[None]
    pairs = select_triplets(scores, torch.tensor([[BICYCLE]]), box, box)[0]
    assert sorted(pairs.verbs.tolist()) == np.flatnonzero(VALID[:, BICYCLE]).tolist()
    assert HOLD in pairs.verbs.tolist()


def test_no_queries():
    fields = torch.zeros(2, 0, 117), torch.zeros(2, 0, dtype=torch.int64)
    pairs = select_triplets(*fields, torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), nms={})
    assert [len(p) for p in pairs] == [0, 0]
    assert pairs[0].subject_boxes.shape == (0, 4)
