"""The toy world: its files, and that its sentences are true of one thing and have no idle word."""

import hashlib
import itertools
import json
import pickletools

import cv2
import numpy as np
import pytest

from mmvl.engine.pickles import read_pickle
from mmvl.grounding.datasets import RefCOCO
from mmvl.grounding.toy import write_world
from mmvl.grounding.toy.scenes import COLOURS, HELD_OUT, SHAPES
from mmvl.grounding.transforms import LoadReferringImage
from mmvl.language.directions import swap_left_right

SPLITS = {'train': 60, 'val': 40, 'testA': 40, 'testB': 40}
DIRECTIONS = {
    'left': (-1, 0),
    'right': (1, 0),
    'top': (0, -1),
    'bottom': (0, 1),
    'above': (0, -1),
    'below': (0, 1),
}


@pytest.fixture(scope='module')
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    write_world(folder, seed=3, num_train=60, num_test=40, size=128)
    return folder


def read(folder):
    """(things of the image, index of the referent, sentence, split) of every sentence."""
    instances = json.loads((folder / 'instances.json').read_text())
    names = {each['id']: each['name'] for each in instances['categories']}
    things = {}
    for each in instances['annotations']:
        x, y, width, height = each['bbox']
        thing = {
            'id': each['id'],
            'words': {each['size'], each['colour'], names[each['category_id']]},
            'at': np.array([x + width / 2, y + height / 2]),
        }
        things.setdefault(each['image_id'], []).append(thing)
    for ref in read_pickle(folder / 'refs(unc).p'):
        scene = things[ref['image_id']]
        index = [thing['id'] for thing in scene].index(ref['ann_id'])
        for sentence in ref['sentences']:
            yield scene, index, sentence['sent'], ref['split']


@pytest.fixture(scope='module')
def sentences(world):
    return list(read(world))


def called(scene, words):
    asked = set(words) - {'the', 'thing'}
    return [i for i, thing in enumerate(scene) if asked <= thing['words']]


def meant(scene, text, side=128):
    """Indices of the things of which a sentence is true, by the plain sense of its words."""
    words = text.split()
    assert words.pop(0) == 'the'
    at = np.array([thing['at'] for thing in scene])
    if words[0].endswith('most'):
        found = called(scene, words[1:])
        along = at @ DIRECTIONS[words[0].removesuffix('most')]
        return [max(found, key=lambda i: along[i])] if found else []
    where = next((i for i, word in enumerate(words) if word in ('on', 'at')), None)
    if where is not None:
        along = (at - side / 2) @ DIRECTIONS[words[where + 2]]
        return [i for i in called(scene, words[:where]) if along[i] > 0]
    where = next((i for i, word in enumerate(words) if word in DIRECTIONS), None)
    if where is None:
        return called(scene, words)
    landmarks = called(scene, words[words.index('the') + 1 :])
    along = at @ DIRECTIONS[words[where]]
    found = called(scene, words[:where])
    return [i for i in found if any(along[i] > along[j] for j in landmarks if j != i)]


def shorter(text):
    """The sentence without each of the words that tell things apart, or without its place."""
    words = text.split()
    attributes = {*COLOURS, *SHAPES, 'small', 'large'}
    for i, word in enumerate(words):
        if word in attributes:
            yield ' '.join([*words[:i], *(['thing'] if word in SHAPES else []), *words[i + 1 :]])
        elif word.endswith('most'):
            yield ' '.join(words[:i] + words[i + 1 :])
        elif word in (*DIRECTIONS, 'on', 'at'):
            yield ' '.join(words[:i])
            if word in ('on', 'at'):
                return


def test_every_sentence_means_one_thing(sentences):
    wrong = [text for scene, index, text, _ in sentences if meant(scene, text) != [index]]
    assert not wrong and len(sentences) > 300


def test_no_word_is_idle(sentences):
    for scene, index, text, _ in sentences:
        for less in shorter(text):
            assert meant(scene, less) != [index], (text, less)


def test_mirrored_sentences_stay_true(sentences):
    for scene, index, text, _ in sentences:
        mirrored = [{**t, 'at': np.array([128 - t['at'][0], t['at'][1]])} for t in scene]
        assert meant(mirrored, swap_left_right(text)) == [index]


def test_a_landmark_is_one_thing(sentences):
    texts = [(scene, text.split(' the ')[1]) for scene, _, text, _ in sentences if ' the ' in text]
    landmarks = [(scene, words) for scene, words in texts if words not in DIRECTIONS]
    assert len(landmarks) > 20
    assert all(len(called(scene, words.split())) == 1 for scene, words in landmarks)


def test_every_kind_of_sentence_in_every_split(sentences):
    kinds = dict.fromkeys(SPLITS, ())
    for _, _, text, split in sentences:
        words = text.split()
        kind = 'extreme' if 'most' in text else 'place' if {'on', 'at'} & {*words} else 'attribute'
        kinds[split] += ('relation' if kind == 'attribute' and words.count('the') > 1 else kind,)
    for split, found in kinds.items():
        counts = {kind: found.count(kind) for kind in {*found}}
        assert len(counts) == (3 if split == 'testB' else 4)
        assert min(counts.values()) >= 0.08 * len(found), (split, counts)


def test_held_out_pairs_are_in_test_a_alone(sentences):
    pairs = {tuple(pair) for pair in itertools.product(COLOURS, SHAPES)}
    shown = dict.fromkeys(SPLITS, frozenset())
    for scene, index, text, split in sentences:
        held = [{*pair} for pair in HELD_OUT if {*pair} <= scene[index]['words']]
        if split == 'testA':
            assert held and held[0] <= set(text.split(' the ')[0].split())
        shown[split] |= {p for p in pairs if any({*p} <= thing['words'] for thing in scene)}
    for split in ('train', 'val', 'testB'):
        assert not shown[split] & HELD_OUT
    assert shown['testA'] >= HELD_OUT and len(HELD_OUT) == 4
    assert shown['train'] == pairs - HELD_OUT


def test_test_b_needs_left_or_right(sentences):
    assert all(
        'left' in text or 'right' in text for *_, text, split in sentences if split == 'testB'
    )


def test_the_dataset_reads_it(world):
    for split, images in SPLITS.items():
        dataset = RefCOCO(
            split=split,
            data_root=str(world),
            ann_file='refs(unc).p',
            data_prefix={'img': 'images'},
            test_mode=True,
            pipeline=[LoadReferringImage()],
        )
        samples = list(dataset)
        assert len({sample['img_id'] for sample in samples}) == images
        for sample in samples:
            # a sharp tip covers no whole pixel
            rows, columns = np.nonzero(sample['mask'])
            tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(tight, sample['box'], atol=2)
            assert sample['img'].shape == (128, 128, 3)


def test_masks_hold_what_is_drawn(world):
    """Nothing else is as blue as the blue things are."""
    dataset = RefCOCO(
        split='train',
        data_root=str(world),
        ann_file='refs(unc).p',
        data_prefix={'img': 'images'},
        pipeline=[LoadReferringImage()],
    )
    checked = 0
    for sample in dataset:
        if ' blue ' in sample['text'].split(' the ')[0]:
            red, _, blue = np.moveaxis(cv2.GaussianBlur(sample['img'], (3, 3), 0).astype(int), 2, 0)
            mask = sample['mask'].astype(bool)
            core = cv2.erode(sample['mask'], np.ones((3, 3))) > 0
            ring = cv2.dilate(sample['mask'], np.ones((7, 7))) - cv2.dilate(
                sample['mask'], np.ones((3, 3))
            )
            assert (blue - red)[core].mean() > 100 and mask.sum() > 100
            assert (blue - red)[ring > 0].mean() < 60
            checked += 1
    assert checked >= 5


def digests(folder):
    files = [path for path in folder.rglob('*') if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (('one', 3), ('again', 3), ('other', 4)):
        write_world(tmp_path / name, seed=seed, num_train=4, num_test=2, size=96)
    assert digests(tmp_path / 'one') == digests(tmp_path / 'again')
    images = [
        {d for f, d in digests(tmp_path / n).items() if '.jpg' in f} for n in ('one', 'other')
    ]
    assert len(images[0]) == 10 and not images[0] & images[1]


def test_other_files(world):
    words = (world / 'vocab.txt').read_text().splitlines()
    assert words[:5] == ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']
    assert len(words) == len(set(words))
    said = {word for *_, text, _ in read(world) for word in text.split()}
    assert {swap_left_right(word) for word in said} | said <= set(words)
    raw = (world / 'refs(unc).p').read_bytes()
    codes = [code.name for code, _, _ in pickletools.genops(raw)]
    assert raw[:2] == b'\x80\x02' and not {'GLOBAL', 'REDUCE', 'BUILD'} & {*codes}
    sent_ids = [s for ref in read_pickle(world / 'refs(unc).p') for s in ref['sent_ids']]
    assert sent_ids == list(range(1, len(sent_ids) + 1))
