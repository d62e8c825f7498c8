"""One small dataset in the three forms of RefCOCO."""

import json
import logging
import pickle
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image

WIDTH, HEIGHT = 100, 80


NAMES = {11: 'COCO_train2014_000000000011.jpg', 22: 'COCO_train2014_000000000022.jpg', 33: 'c.jpg'}


# annotation -> image and xywh
BOXES = {
    101: (11, [10, 20, 30, 40]),
    102: (11, [50.5, 20.25, 30.5, 40.25]),
    201: (22, [0, 0, 100, 80]),
    301: (33, [5, 6, 7, 8]),
    302: (33, [60, 6, 7, 8]),
}


# split, annotation, sentences
REFS = [
    ('train', 101, ['man in red', 'the left man']),
    ('train', 102, ['right man']),
    ('val', 201, ['everything']),
    ('testA', 301, ['small one', 'tiny', 'man in red']),
    ('testB', 302, ['other small one']),
    ('testAB', 301, ['in both']),
]


MASK = [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0]]


def instances():
    return {
        'images': [
            {'id': i, 'file_name': name, 'width': WIDTH, 'height': HEIGHT}
            for i, name in NAMES.items()
        ],
        'annotations': [
            {'id': i, 'image_id': image, 'bbox': box, 'category_id': 1, 'segmentation': MASK}
            for i, (image, box) in BOXES.items()
        ],
        'categories': [{'id': 1, 'name': 'person'}],
    }


def references():
    refs, number = [], 1000
    for i, (split, ann_id, texts) in enumerate(REFS):
        image_id = BOXES[ann_id][0]
        sentences = [
            {'sent_id': number + j, 'sent': text, 'raw': text.upper(), 'tokens': text.split()}
            for j, text in enumerate(texts)
        ]
        number += len(texts)
        refs.append(
            {
                'ref_id': i + 1,
                'ann_id': ann_id,
                'image_id': image_id,
                'category_id': 1,
                'split': split,
                'file_name': f'{Path(NAMES[image_id]).stem}_{ann_id}.jpg',
                'sent_ids': [sentence['sent_id'] for sentence in sentences],
                'sentences': sentences,
            }
        )
    return refs


def write_refer(folder, refs=None, content=None, name='refcoco', split_by='unc', protocol=2):
    (folder / name).mkdir(exist_ok=True)
    data = pickle.dumps(references() if refs is None else refs, protocol)
    (folder / name / f'refs({split_by}).p').write_bytes(data)
    (folder / name / 'instances.json').write_text(json.dumps(content or instances()))
    return str(folder)


def sentences_of(split):
    """Annotation and sentence, one by one, by the rule of the splits."""
    for ref_split, ann_id, texts in REFS:
        if ref_split == split or split in ('testA', 'testB') and split[-1] in ref_split:
            for text in texts:
                yield ann_id, text


def mdetr(split):
    content = {'images': [], 'annotations': []}
    for number, (ann_id, text) in enumerate(sentences_of(split), start=1):
        image_id, box = BOXES[ann_id]
        image = {
            'id': number,
            'file_name': NAMES[image_id],
            'caption': text,
            'dataset_name': 'refcoco',
            'original_id': image_id,
        }
        content['images'].append({**image, 'width': WIDTH, 'height': HEIGHT})
        annotation = {'id': number, 'image_id': number, 'bbox': box, 'segmentation': MASK}
        content['annotations'].insert(0, {**annotation, 'original_id': ann_id})
    return content


def write_mdetr(folder, split, content=None):
    file = folder / 'mdetr_annotations' / f'finetune_refcoco_{split}.json'
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content or mdetr(split)))
    return str(folder)


def index(split):
    return [
        (NAMES[BOXES[ann_id][0]], 'x.pth', BOXES[ann_id][1], text, [('r1', ['man'])])
        for ann_id, text in sentences_of(split)
    ]


def write_index(folder, rows, name='unc', split='val', **options):
    file = folder / 'data' / name / f'{name}_{split}.pth'
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(rows, file, **options)
    return str(folder)


def put_images(folder, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or NAMES.values():
        Image.new('RGB', (WIDTH, HEIGHT)).save(folder / name)


def samples(dataset):
    return [dataset[i] for i in range(len(dataset))]


def triples(dataset):
    return Counter((s['file_name'], s['text'], *s['box'].tolist()) for s in samples(dataset))


class Call:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def changed(content, *path, value):
    """A copy in which the entry behind the path has another value, or is gone."""
    copy = json.loads(json.dumps(content))
    *inner, last = path
    item = copy
    for key in inner:
        item = item[key]
    if value is None:
        del item[last]
    else:
        item[last] = value
    return copy


@pytest.fixture
def forms():
    """What writes and reads the small dataset; test files cannot import each other."""
    return sys.modules[__name__]


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('test_referring')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        yield caplog
    logger.removeHandler(caplog.handler)
