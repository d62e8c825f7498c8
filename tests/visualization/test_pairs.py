"""Drawing of pairs: grouping, layout, and what ends up in the picture."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvl.visualization import add_title, draw_pairs, fit_canvas, group_triplets, place_labels
from mmvl.visualization.canvas import PALETTE, luminance, text_color

PERSON = [10.0, 10, 110, 210]
BICYCLE = [20.0, 100, 140, 220]
OTHER = [300.0, 20, 380, 220]


def arrays(*rows):
    subjects, objects, texts, scores = zip(*rows, strict=True)
    return np.array(subjects), np.array(objects), list(texts), np.array(scores)


def overlap(a, b):
    size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return size.clip(0).prod()


def shifted(box, by):
    return [value + by for value in box]


def test_triplets_of_one_pair_become_one_label_in_order_of_score():
    pairs = group_triplets(
        *arrays(
            (PERSON, BICYCLE, 'holding bicycle', 0.5),
            (shifted(PERSON, 4), shifted(BICYCLE, -3), 'riding bicycle', 0.934),
            (OTHER, BICYCLE, 'watching bicycle', 0.7),
        )
    )
    assert [pair.lines for pair in pairs] == [
        ['riding bicycle 0.93', 'holding bicycle 0.50'],
        ['watching bicycle 0.70'],
    ]
    assert pairs[0].subject_box.tolist() == shifted(PERSON, 4)


def test_same_person_with_another_object_is_another_pair():
    pairs = group_triplets(
        *arrays((PERSON, BICYCLE, 'riding bicycle', 0.9), (PERSON, OTHER, 'holding kite', 0.8))
    )
    assert [pair.lines for pair in pairs] == [['riding bicycle 0.90'], ['holding kite 0.80']]


def test_threshold_limits_and_repeated_texts():
    verbs = [(PERSON, BICYCLE, f'verb{i} bicycle', 0.9 - i / 10) for i in range(6)]
    repeated = (PERSON, BICYCLE, 'verb0 bicycle', 0.85)
    weak = (OTHER, OTHER, 'weak', 0.0999)
    single = (OTHER, OTHER, 'at threshold', 0.1)
    pairs = group_triplets(*arrays(*verbs, repeated, weak, single), max_lines=3)
    assert [pair.lines for pair in pairs] == [
        ['verb0 bicycle 0.90', 'verb1 bicycle 0.80', 'verb2 bicycle 0.70'],
        ['at threshold 0.10'],
    ]
    best = group_triplets(*arrays(*verbs, single), top_k=1)
    assert len(best) == 1 and best[0].lines[0] == 'verb0 bicycle 0.90'


def test_nan_scores_and_empty_boxes_do_no_harm():
    empty = [5.0, 5, 5, 5]
    pairs = group_triplets(
        *arrays((PERSON, BICYCLE, 'a', np.nan), (empty, empty, 'b', 0.8), (empty, empty, 'c', 0.7))
    )
    assert [pair.lines for pair in pairs] == [['b 0.80'], ['c 0.70']]


def test_annotation_keeps_its_order_and_shows_no_score():
    boxes, objects, texts, _ = arrays((OTHER, OTHER, 'b', 0), (PERSON, BICYCLE, 'a', 0))
    pairs = group_triplets(boxes, objects, texts)
    assert [pair.lines for pair in pairs] == [['b'], ['a']]


def test_lengths_must_agree():
    with pytest.raises(ValueError, match=r'lengths differ, \[2, 1, 2, 2\]'):
        group_triplets(np.zeros((2, 4)), np.zeros((1, 4)), ['a', 'b'], np.ones(2))
    with pytest.raises(ValueError, match=r'\[1, 1, 1, 2\]'):
        group_triplets(np.zeros((1, 4)), np.zeros((1, 4)), ['a'], np.ones(2))


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(5, 150), st.integers(5, 60)), min_size=1, max_size=15),
    wish=st.tuples(st.integers(-50, 400), st.integers(-50, 300)),
)
def test_labels_stay_apart_and_inside(sizes, wish):
    rects = place_labels(sizes, [np.array([wish])] * len(sizes), (300, 200), np.zeros((0, 4)))
    placed = rects[~np.isnan(rects[:, 0])]
    assert len(placed) >= 1
    assert (placed[:, :2] >= 0).all() and (placed[:, 2:] <= (300, 200)).all()
    for i, rect in enumerate(placed):
        assert all(overlap(rect, other) == 0 for other in placed[:i])
    for rect, size in zip(rects, sizes, strict=True):
        assert np.isnan(rect[0]) or np.allclose(rect[2:] - rect[:2], size)


def test_label_takes_its_wish_unless_taken_or_covering():
    nothing = np.zeros((0, 4))
    wish = [np.array([[50.0, 60.0]])]
    assert place_labels([(40, 20)], wish, (300, 200), nothing).tolist() == [[50, 60, 90, 80]]
    two = place_labels([(40, 20)] * 2, wish * 2, (300, 200), nothing)
    assert two[0].tolist() == [50, 60, 90, 80]
    distance = np.linalg.norm(two[1, :2] - (50, 60))
    assert 20 <= distance <= 40
    face = np.array([[50.0, 60.0, 90.0, 80.0]])
    moved = place_labels([(40, 20)], wish, (300, 200), face)[0]
    assert overlap(moved, face[0]) == 0


def test_label_without_room_is_left_out():
    wish = [np.zeros((1, 2))] * 2
    rects = place_labels([(400, 20), (100, 20)], wish, (300, 30), np.zeros((0, 4)))
    assert np.isnan(rects[0]).all() and rects[1].tolist() == [0, 0, 100, 20]


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        ((64, 96), (640, 960)),
        ((640, 800), (640, 800)),
        ((2000, 4096), (1000, 2048)),
        ((2, 1000), (4, 2048)),
    ],
)
def test_canvas_size(shape, expected):
    canvas, scale = fit_canvas(np.zeros((*shape, 3), np.uint8))
    assert canvas.shape[:2] == expected
    assert scale == pytest.approx(expected[1] / shape[1])


def test_canvas_refuses_floats():
    with pytest.raises(ValueError, match=r'\(H, W, 3\) uint8 RGB, got \(4, 4, 3\) float64'):
        fit_canvas(np.zeros((4, 4, 3)))


def test_text_contrasts_with_every_colour():
    for color in PALETTE:
        light, dark = sorted((luminance(color), luminance(text_color(color))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5
    assert luminance((255, 255, 255)) == pytest.approx(1)


def colored(picture, color, tolerance=40):
    return np.abs(picture.astype(int) - color).max(axis=2) <= tolerance


def test_boxes_lie_where_they_were_said_to():
    image = np.full((640, 640, 3), 128, np.uint8)
    subject, object_ = np.array([[100.0, 200, 300, 500]]), np.array([[400.0, 100, 600, 300]])
    picture = draw_pairs(image, subject, object_, ['riding bicycle'], np.array([0.9]))
    paint = colored(picture, PALETTE[0])
    assert paint[199:202, 350].sum() == 0 and paint[300:400, 99:102].any(axis=1).all()
    dashed = paint[150:290, 599:602].any(axis=1)
    assert 0.4 < dashed.mean() < 0.9
    assert np.array_equal(image, np.full((640, 640, 3), 128, np.uint8))


def test_small_image_is_enlarged_with_its_boxes():
    image = np.full((64, 64, 3), 128, np.uint8)
    boxes = np.array([[10.0, 20, 30, 50]])
    picture = draw_pairs(image, boxes, np.array([[40.0, 10, 60, 30]]), ['a'], np.array([0.9]))
    assert picture.shape == (640, 640, 3)
    assert colored(picture, PALETTE[0])[300:400, 98:103].any(axis=1).all()


def test_pairs_have_their_own_colours_and_shared_boxes_stay_visible():
    image = np.full((640, 640, 3), 128, np.uint8)
    subjects = np.array([[100.0, 200, 300, 500]] * 2)
    objects = np.array([[400.0, 100, 600, 300], [350.0, 400, 600, 600]])
    picture = draw_pairs(image, subjects, objects, ['a', 'b'], np.array([0.9, 0.8]))
    for color in PALETTE[:2]:
        assert colored(picture[300:400, 90:105], color).any(axis=1).all()


def test_nothing_above_the_threshold_leaves_the_image():
    image = np.random.default_rng(0).integers(0, 256, (640, 700, 3)).astype(np.uint8)
    boxes = np.array([[10.0, 10, 50, 50]])
    assert np.array_equal(draw_pairs(image, boxes, boxes, ['a'], np.array([0.05])), image)


def test_crowd_boxes_outside_and_strips_can_be_drawn():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (4, 900), (900, 30), (50, 60)):
        corners = rng.uniform(-50, 100, (2, 40, 2))
        subjects, objects = np.concatenate((corners, corners + rng.uniform(1, 900)), axis=2)
        texts = [f'doing something rather long with thing {i}' for i in range(40)]
        image = np.zeros((*shape, 3), np.uint8)
        picture = draw_pairs(image, subjects, objects, texts, top_k=40)
        assert picture.shape == fit_canvas(image)[0].shape and picture.any()


def test_title_is_a_bar_above():
    image = np.full((500, 700, 3), 7, np.uint8)
    titled = add_title(image, 'prediction')
    assert titled.shape == (520, 700, 3)
    assert np.array_equal(titled[20:], image)
    assert titled[:20].min() < 100 < titled[:20, 300:].min()
