import numpy as np
import pytest

from mmvl.hoi.targets import BuildPairTargets, build_pairs, hidden_labels
from mmvl.hoi.vocabulary import HOI_INDEX, NO_INTERACTION, VERBS

PERSON, BICYCLE, DOG = 0, 1, 16
RIDE, HOLD, WALK = (VERBS.index(name) for name in ('ride', 'hold', 'walk'))
LABELS = np.array([PERSON, BICYCLE, PERSON, DOG])


def ids(*pairs):
    return np.array([HOI_INDEX[verb, label] for verb, label in pairs], dtype=np.int64)


def build(hois, unseen=(), labels=LABELS, box_ids=None, hide='verb', **kwargs):
    """Pairs as (subject, object, verbs, potential, interactive)."""
    hidden = hidden_labels(ids(*unseen), hide)
    box_ids = np.arange(len(labels)) if box_ids is None else np.array(box_ids, dtype=np.int64)
    array = np.array(hois, dtype=np.int64).reshape(-1, 3)
    table = build_pairs(array, box_ids, np.asarray(labels), hidden, hide, **kwargs)
    assert table.verb_labels.shape == (len(table.subjects), len(VERBS))
    return [
        (s, o, np.flatnonzero(labels).tolist(), p, i)
        for s, o, labels, p, i in zip(
            table.subjects.tolist(),
            table.objects.tolist(),
            table.verb_labels,
            table.potential.tolist(),
            table.interactive.tolist(),
            strict=True,
        )
    ]


def test_hidden_verb_and_hidden_combination():
    by_verb = hidden_labels(ids((WALK, DOG)), 'verb')
    assert by_verb[WALK].all()
    assert by_verb.sum() == 80
    assert np.argwhere(hidden_labels(ids((WALK, DOG)), 'combination')).tolist() == [[WALK, DOG]]


def test_cross_product_in_annotation_order():
    hois = [(2, 1, RIDE), (0, 3, WALK), (2, 1, HOLD), (2, 1, RIDE)]
    assert build(hois) == [
        (2, 1, [HOLD, RIDE], False, True),
        (2, 3, [], True, True),
        (0, 1, [], True, True),
        (0, 3, [WALK], False, True),
    ]


def test_hidden_verbs_leave_a_potential_pair():
    hois = [(0, 3, WALK), (0, 1, RIDE), (0, 1, WALK)]
    expected = [(0, 3, [], True, True), (0, 1, [RIDE], False, True)]
    assert build(hois, [(WALK, DOG)]) == expected
    # Only the combination with the dog is hidden here.
    combination = build(hois, [(WALK, DOG)], hide='combination')
    assert combination[1] == (0, 1, sorted([RIDE, WALK]), False, True)


def test_guard_keeps_the_second_pair_of_a_person():
    hois = [(0, 1, RIDE), (0, 3, WALK)]
    guarded = build(hois, hide='combination', guard_seen=True)
    assert guarded == [(0, 1, [RIDE], False, True), (0, 3, [WALK], False, True)]
    official = build(hois, hide='combination', guard_seen=False)
    assert official == [(0, 1, [RIDE], False, True), (0, 3, [], True, True)]


def test_person_who_is_subject_and_object_pairs_with_himself():
    hois = [(0, 2, HOLD), (2, 1, RIDE)]
    assert (2, 2, [], True, True) in build(hois)
    assert build(hois)[:2] == [(0, 2, [HOLD], False, True), (0, 1, [], True, True)]


def test_no_interaction_is_judged_after_hiding_verbs_and_before_hiding_combinations():
    hois = [(0, 1, NO_INTERACTION), (0, 1, RIDE)]
    unseen = [(NO_INTERACTION, BICYCLE)]
    assert build(hois)[0][3:] == (False, False)
    assert build(hois, unseen)[0] == (0, 1, [RIDE], False, True)
    assert build(hois, unseen, hide='combination')[0] == (0, 1, [RIDE], False, False)
    assert build(hois[:1], unseen, hide='combination') == [(0, 1, [], True, False)]


def test_all_pairs_every_person_with_every_other_box():
    hois = [(2, 3, WALK), (0, 1, RIDE), (0, 0, HOLD), (1, 3, HOLD)]
    assert build(hois, [(WALK, DOG)], pairs='all') == [
        (0, 1, [RIDE], False, True),
        (0, 2, [], True, True),
        (0, 3, [], True, True),
        (2, 0, [], True, True),
        (2, 1, [], True, True),
        (2, 3, [], True, True),
    ]
    assert len(build([], pairs='all')) == 6


def test_annotated_pairs_only():
    hois = [(2, 3, WALK), (0, 1, RIDE), (2, 3, HOLD), (0, 3, WALK)]
    assert build(hois, [(WALK, DOG)], pairs='annotated') == [
        (0, 1, [RIDE], False, True),
        (2, 3, [HOLD], False, True),
    ]


def test_indices_follow_the_boxes_that_remain():
    hois = [(2, 1, RIDE), (2, 3, WALK), (0, 1, HOLD), (0, 7, HOLD)]
    assert build(hois, labels=[PERSON, BICYCLE], box_ids=[2, 1]) == [(0, 1, [RIDE], False, True)]


@pytest.mark.parametrize('pairs', ['cross', 'all', 'annotated'])
def test_nothing_left(pairs):
    assert build([], labels=np.zeros(0, np.int64), box_ids=[], pairs=pairs) == []
    hois = [(0, 1, RIDE)]
    assert build(hois, labels=np.zeros(0, np.int64), box_ids=[], pairs=pairs) == []


def test_transform_normalises_and_keeps_original_unions():
    results = {
        'hois': np.array([[0, 2, RIDE], [0, 1, RIDE]]),
        'box_ids': np.array([0, 2]),
        'labels': np.array([PERSON, BICYCLE]),
        'boxes': np.array([[0, 0, 50, 100], [100, 20, 200, 60]], np.float32),
        'ori_boxes': np.array([[-3, 0, 5, 9], [0, 0, 1, 1], [4, 6, 900, 8]], np.float32),
        'img_shape': (100, 200),
    }
    pairs = BuildPairTargets(unseen=[int(HOI_INDEX[WALK, DOG])])(results)['gt_pairs']
    assert pairs.subject_boxes.tolist() == [[0.125, 0.5, 0.25, 1.0]]
    np.testing.assert_allclose(pairs.object_boxes, [[0.75, 0.4, 0.5, 0.4]], rtol=1e-6)
    assert pairs.union_boxes.tolist() == [[-3, 0, 900, 9]]
    assert pairs.object_labels.tolist() == [BICYCLE]
    assert pairs.verb_labels.nonzero().tolist() == [[0, RIDE]]
    assert np.flatnonzero(pairs.metainfo['distillable_verbs']).tolist() == [WALK]


@pytest.mark.parametrize(
    ('kwargs', 'count'),
    [
        ({'unseen': 'ua'}, 22),
        ({'unseen': 'ua', 'pairs': 'annotated'}, 0),
        ({'unseen': 'uc0', 'hide': 'combination'}, 117),
        ({}, 0),
    ],
)
def test_distillable_verbs(kwargs, count):
    assert int(BuildPairTargets(**kwargs).distillable.sum()) == count


@pytest.mark.parametrize('kwargs', [{'hide': 'object'}, {'pairs': 'crossed'}])
def test_unknown_words(kwargs):
    with pytest.raises(ValueError, match=f'{next(iter(kwargs))} must be'):
        BuildPairTargets(**kwargs)
