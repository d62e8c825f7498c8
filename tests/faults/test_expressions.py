"""Odd referring expressions, from the file to the network: F26."""

import json
import logging
import pickle

import pytest
import torch
from mmengine.logging import MMLogger

from mmvl.grounding.datasets import AnnotationError, GroundingIndex, MDETRRefCOCO, RefCOCO
from mmvl.language.bert import BertText
from mmvl.language.directions import has_direction, swap_left_right

ODD = {
    'long': 'the left dog ' * 800,
    'one word': 'dog' * 4000,
    'emoji': '🚲 left of 👩‍🦰',
    'non-Latin': '左边的狗 собака слева الكلب',
    'combining': 'a\u0301\u200b dog\u202e',
    'stop words': 'the of a',
    'marks': '?! ...',
    'special tokens': '[SEP] [CLS] [PAD] [MASK]',
    'control characters': 'dog\0\x07\ttree',
}
EMPTY = {'empty': '', 'spaces': ' \t\n', 'wide spaces': '\u3000\u00a0\u2003'}
ROUTES = {'refer': RefCOCO, 'mdetr': MDETRRefCOCO, 'index': GroundingIndex}
NAME = 'COCO_train2014_000000000011.jpg'
BOX = [10, 20, 30, 40]


@pytest.fixture(params=ROUTES)
def load(request, tmp_path):
    """Write sentences about one thing in one of the three forms, and load them."""

    def go(texts, **options):
        kind = ROUTES[request.param]
        image = {'file_name': NAME, 'height': 80, 'width': 100}
        box = {'bbox': BOX, 'segmentation': []}
        if kind is RefCOCO:
            sentences = [{'sent_id': i, 'sent': text} for i, text in enumerate(texts)]
            ref = {'ref_id': 1, 'ann_id': 5, 'image_id': 11, 'split': 'val'}
            data = pickle.dumps([{**ref, 'sentences': sentences}], 2)
            (tmp_path / 'refcoco').mkdir(exist_ok=True)
            (tmp_path / 'refcoco/refs(unc).p').write_bytes(data)
            annotations = [{'id': 5, 'image_id': 11, **box}]
            content = {'images': [{'id': 11, **image}], 'annotations': annotations}
            (tmp_path / 'refcoco/instances.json').write_text(json.dumps(content))
        elif kind is MDETRRefCOCO:
            ids = {'original_id': 11}
            images = [{'id': i, 'caption': t, **ids, **image} for i, t in enumerate(texts)]
            ids = {'original_id': 5}
            boxes = [{'image_id': i, **ids, **box} for i in range(len(texts))]
            (tmp_path / 'a.json').write_text(json.dumps({'images': images, 'annotations': boxes}))
            options['ann_file'] = 'a.json'
        else:
            torch.save([(NAME, 0, BOX, text, []) for text in texts], tmp_path / 'a.pth')
            options.update(ann_file='a.pth', name='unc')
        if 'images' in options:
            return kind.check(split='val', data_root=str(tmp_path), **options)
        return kind(split='val', data_root=str(tmp_path), **options)

    return go


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('test_expressions')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('test_mode', [False, True])
def test_f26_any_script_and_length_passes_the_dataset(load, log, test_mode):
    dataset = load(list(ODD.values()), test_mode=test_mode)
    texts = [dataset[i]['text'] for i in range(len(dataset))]
    assert [text.lower() for text in texts] == [text.lower() for text in ODD.values()]
    assert all(dataset[i]['box'].tolist() == [10, 20, 40, 60] for i in range(len(dataset)))
    assert log.records == []
    report = load(list(ODD.values()), images=False)
    assert report.errors == 0
    assert [p.kind for p in report.problems][:1] == ['long sentence']


@pytest.mark.parametrize('empty', EMPTY.values(), ids=EMPTY)
def test_f26_empty_sentence(load, log, empty):
    texts = ['dog', empty, 'tree']
    with pytest.raises(AnnotationError, match='a sentence without a word, an evaluation') as error:
        load(texts, test_mode=True)
    assert error.value.kind == 'empty sentence'
    assert '1' in error.value.place.field
    assert 'What to do: ' in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    dataset = load(texts)
    assert [dataset[i]['text'] for i in range(len(dataset))] == ['dog', 'tree']
    (record,) = log.records
    assert f'dropped 1 of 3 sentences (empty sentence): {error.value.place}' in record.getMessage()
    report = load(texts, images=False)
    assert [(p.kind, p.where) for p in report.problems if p.is_error] == [
        ('empty sentence', error.value.place.field)
    ]


@pytest.mark.parametrize('value', [None, 5, ['dog'], '\ud800'])
def test_f26_what_is_no_text(load, value):
    for test_mode in (False, True):
        with pytest.raises(AnnotationError) as error:
            load(['dog', value], test_mode=test_mode)
        assert error.value.kind == 'bad text'


def test_f26_directions_in_odd_sentences():
    for text in ODD.values():
        assert swap_left_right(swap_left_right(text)) == text
    assert swap_left_right(ODD['long']) == 'the right dog ' * 800
    assert swap_left_right(ODD['emoji']) == '🚲 right of 👩‍🦰'
    assert [name for name, text in ODD.items() if has_direction(text)] == ['long', 'emoji']


def test_f26_features_are_finite_and_cut_with_a_warning(tmp_path, log):
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'the', 'left', 'dog', 'tree', '?']
    (tmp_path / 'vocab.txt').write_text('\n'.join(words))
    sizes = {'hidden_size': 8, 'num_attention_heads': 2, 'intermediate_size': 8}
    model = BertText(str(tmp_path / 'vocab.txt'), num_layers=1, max_length=12, **sizes).eval()
    texts = list(ODD.values())
    features, valid = model(texts)
    assert features.shape == (len(texts), 12, 8)
    assert torch.isfinite(features).all()
    counts = dict(zip(ODD, valid.sum(dim=1).tolist(), strict=True))
    assert counts['long'] == 12
    # one token for what is no word of the vocabulary
    assert counts['one word'] == 3
    assert all(3 <= count <= 12 for count in counts.values())
    assert [r.getMessage() for r in log.records if 'are cut' in r.getMessage()] == [
        f'sentences of more than 12 tokens are cut, first: {ODD["long"][:80]}'
    ]
    alone, _ = model([ODD['emoji']])
    row = list(ODD).index('emoji')
    torch.testing.assert_close(alone[0], features[row, : alone.shape[1]], atol=1e-5, rtol=0)
