"""Data that is missing, damaged or odd: F19-F21, F23-F25."""

import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from PIL import Image

from mmvl.cli import main as cli
from mmvl.engine.images import ImageError, check_image, read_image
from mmvl.hoi.datasets import AnnotationError, HICODet
from mmvl.hoi.evaluation import PROTOCOLS, ImageRecord, evaluate_triplets
from mmvl.hoi.toy import write_world
from mmvl.hoi.vocabulary import HOI_INDEX, NO_INTERACTION, VERBS
from mmvl.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
RIDE, HOLD = VERBS.index('ride'), VERBS.index('hold')
PERSON, BICYCLE, DOG = 0, 1, 16
LOADER = """
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='HICODet', data_root={root!r}, ann_file={name!r}, data_prefix=dict(img='images'),
        pipeline=[dict(type='LoadHOIImage'), dict(type='PackHOIInputs')],
    ),
)
val_dataloader = val_evaluator = val_cfg = test_dataloader = test_evaluator = test_cfg = None
"""


def entry(name='a.jpg', boxes=((10, 20, 60, 90), (5, 50, 80, 99)), hois=((0, 1, RIDE),)):
    return {
        'file_name': name,
        'annotations': [
            {'bbox': list(box), 'category_id': 1 + i % 2} for i, box in enumerate(boxes)
        ],
        'hoi_annotation': [
            {'subject_id': s, 'object_id': o, 'category_id': v + 1} for s, o, v in hois
        ],
    }


@pytest.fixture
def folder(tmp_path):
    """A data set of three good images."""
    (tmp_path / 'images').mkdir()
    for name in 'abc':
        Image.new('RGB', (100, 100)).save(tmp_path / 'images' / f'{name}.jpg')
    write(tmp_path, [entry(f'{name}.jpg') for name in 'abc'])
    return tmp_path


def write(folder, content):
    (folder / 'a.json').write_text(json.dumps(content))
    return str(folder / 'a.json')


def write_config(folder, name):
    (folder / 'config.py').write_text(tiny.CONFIG + LOADER.format(root=str(folder), name=name))
    return str(folder / 'config.py')


@pytest.fixture
def refused(folder, capfd):
    """Train on the data set, which is refused in three lines; give these."""

    def train(name='a.json') -> str:
        config = write_config(folder, name)
        capfd.readouterr()
        assert cli.main(['train', config, '--work-dir', str(folder / 'work')]) == 2
        said = capfd.readouterr()
        assert 'Traceback' not in said.err + said.out
        message = said.err.split('\nmmvl: ')[-1].strip()
        assert len(message.splitlines()) <= 3
        assert 'What to do: ' in message
        return message

    return train


@pytest.fixture
def checked(folder, capfd):
    """Check the data set on the command line; give exit code and problems by kind."""

    def check(name='a.json') -> tuple[int, dict[str, list[str]]]:
        config = write_config(folder, name)
        capfd.readouterr()
        code = cli.main(['data', 'check', config, '--json', '-'])
        said = capfd.readouterr()
        (dataset,) = json.loads(said.out)['datasets']
        kinds: dict[str, list[str]] = {}
        for problem in dataset['report']['problems']:
            place = problem['where'] or Path(problem['file']).name
            kinds.setdefault(problem['kind'], []).append(place)
        return code, kinds

    return check


@pytest.mark.parametrize(
    ('content', 'said', 'kind'),
    [
        (None, 'Annotation file not found: {}', 'missing annotation'),
        (b'', '{} is empty', 'unreadable annotation'),
        (
            b'[{"file_name":\n "a.jpg",}]',
            '{} is not valid JSON: .* line 2, column 10',
            'unreadable',
        ),
        (b'\xff\xfe[\x00', '{} is not a text file: .* at byte 0', 'unreadable annotation'),
        (b'\xef\xbb\xbf[]', '{} is not valid JSON: Unexpected UTF-8 BOM', 'unreadable annotation'),
        (b'[' * 100_000, '{} is nested far too deeply', 'unreadable annotation'),
        (b'[' + b'9' * 5000 + b']', '{} cannot be read: .*digits', 'unreadable annotation'),
        (b'[]', '{} holds no image', 'unreadable annotation'),
        (b'{"images": []}', r"{} holds neither .* found \['images'\]", 'unreadable annotation'),
        (b'[3]', "{}, entry 0: key 'file_name' is missing; found int", 'malformed entry'),
        (b'[{"file_name": "\\ud800"}]', r'{}, entry 0.file_name: .*\\ud800', 'bad file name'),
    ],
)
def test_f19_annotation_file(folder, refused, checked, content, said, kind):
    file = folder / 'a.json'
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    message = refused()
    with pytest.raises((AnnotationError, FileNotFoundError), match=said.format(file)) as info:
        HICODet(ann_file=str(file))
    assert message == str(info.value)
    if 'entry' in said or 'holds neither' in said:
        assert '"bbox": [x1, y1, x2, y2]' in message
    code, kinds = checked()
    assert code == 1
    assert next(iter(kinds)).startswith(kind)


def test_f19_pickled_annotation(folder, refused, checked):
    content = [entry('a.jpg'), entry('b.jpg')]
    (folder / 'a.pkl').write_bytes(pickle.dumps(content, 2))
    assert checked('a.pkl') == (0, {})
    (folder / 'a.pkl').write_bytes(b'cposix\nsystem\n(S"true"\ntR.')
    assert "asks for 'posix.system', which is code" in refused('a.pkl')
    code, kinds = checked('a.pkl')
    assert (code, list(kinds)) == (1, ['unreadable annotation'])


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_instance('faults')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        yield caplog
    logger.removeHandler(caplog.handler)


def load(folder, **config):
    return HICODet(
        data_root=str(folder),
        ann_file='a.json',
        data_prefix={'img': 'images'},
        pipeline=[{'type': 'LoadHOIImage'}, {'type': 'ClipBoxes'}],
        **config,
    )


def test_f20_image_missing(folder, refused, checked):
    for name in 'bc':
        (folder / 'images' / f'{name}.jpg').unlink()
    message = refused()
    assert f'2 of 3 images are missing in {folder}/images: b.jpg, c.jpg' in message
    assert 'max_missing' in message
    assert checked() == (1, {'missing image': ['entry 1 (b.jpg)', 'entry 2 (c.jpg)']})


def test_f20_share_of_images_that_may_be_missing(folder, log):
    for name in 'bc':
        (folder / 'images' / f'{name}.jpg').unlink()
    dataset = load(folder, max_missing=0.67)
    assert [sample['file_name'] for sample in dataset] == ['a.jpg']
    (record,) = log.records
    assert '2 of 3 images are missing and are left out: b.jpg, c.jpg' in record.getMessage()
    for config in ({'max_missing': 0.66}, {'test_mode': True, 'max_missing': 0.9}):
        with pytest.raises(FileNotFoundError, match='2 of 3 images are missing'):
            load(folder, **config)
    with pytest.raises(ValueError, match='max_missing is a share'):
        load(folder, max_missing=1)


DEEP = np.array([[511, 65535]], np.uint16)
ROTATED = Image.Exif()
ROTATED[0x0112] = 6
# name -> (what is saved, how, its pixels, the note on it)
FORMATS = {
    'grey.jpg': (Image.new('L', (2, 1), 77), {}, [[77] * 3] * 2, None),
    'png.jpg': (Image.new('L', (2, 1), 77), {'format': 'PNG'}, [[77] * 3] * 2, 'mislabelled image'),
    'a.png': (Image.new('RGBA', (2, 1), (1, 2, 3, 9)), {}, [[1, 2, 3]] * 2, 'unusual colours'),
    'c.tif': (
        Image.new('CMYK', (2, 1), (255, 0, 0, 0)),
        {},
        [[0, 255, 255]] * 2,
        'unusual colours',
    ),
    '16.png': (Image.fromarray(DEEP), {}, [[1] * 3, [255] * 3], 'unusual colours'),
    'exif.jpg': (Image.new('RGB', (2, 1)), {'exif': ROTATED}, [[0] * 3] * 2, 'rotated by EXIF'),
}


@pytest.mark.parametrize('name', FORMATS)
def test_f21_format(tmp_path, name):
    picture, options, pixels, note = FORMATS[name]
    picture.save(tmp_path / name, **options)
    image = read_image(tmp_path / name)
    assert image.dtype == np.uint8
    assert image.tolist() == [pixels]
    size, findings = check_image(tmp_path / name)
    assert size == (1, 2)
    assert [(f.kind, f.is_error) for f in findings] == ([(note, False)] if note else [])


def test_f21_truncated_and_empty(folder, checked):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = folder / 'images' / 'b.jpg'
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for size in (0, 300, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ImageError, match=f'Cannot read the image {path}: '):
            read_image(path)
        kind = 'damaged image' if size else 'empty image'
        assert checked() == (1, {kind: ['entry 1 (b.jpg)']})


VISION = {'image_size': 32, 'layers': 1, 'width': 64, 'patch_size': 16}
TEXT = {'context_length': 16, 'vocab_size': 49408, 'width': 64, 'heads': 1, 'layers': 1}
CLIP = {'type': 'CLIP', 'model': {'embed_dim': 16, 'vision_cfg': VISION, 'text_cfg': TEXT}}


@pytest.fixture(scope='module')
def training(tmp_path_factory):
    """Give the losses of the toy model on a batch, some of whose images have no annotation."""
    folder = tmp_path_factory.mktemp('world')
    write_world(folder, num_train=3, num_test=1)
    file = folder / 'annotations/trainval_hico.json'
    annotated = json.loads(file.read_text())
    config = Config.fromfile(ROOT / 'configs/eoid/toy_ua.py')
    config.model.update(embed_dims=32, num_heads=2)
    config.model.teacher = {'type': 'OnlineTeacher', 'clip': CLIP}
    config.train_dataloader.dataset.data_root = str(folder)

    def losses(empty: list[int]) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
        nothing = {'annotations': [], 'hoi_annotation': []}
        content = [{**e, **(nothing if i in empty else {})} for i, e in enumerate(annotated)]
        file.write_text(json.dumps(content))
        dataset = DATASETS.build(config.train_dataloader.dataset)
        batch = pseudo_collate([dataset[i] for i in range(3)])
        torch.manual_seed(0)
        model = MODELS.build(config.model)
        return model, model(**model.data_preprocessor(batch, True), mode='loss')

    return losses


@pytest.mark.parametrize('empty', [[1], [0, 1, 2]])
def test_f23_images_without_annotation(training, empty):
    model, losses = training(empty)
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_f24_degenerate_boxes(folder, checked, log):
    flat, swapped, outside = (5, 50, 80, 50), (60, 20, 10, 90), (120, 10, 150, 40)
    boxes = [(10, 20, 60, 90), flat, swapped, outside, (5, 50, 80, 99)]
    hois = [(0, 1, HOLD), (2, 3, HOLD)]
    write(folder, [entry(), entry('b.jpg', boxes, hois), entry('c.jpg')])
    dataset = load(folder)
    (record,) = log.records
    said = '2 boxes in 1 images have no area or swapped corners and train nothing: b.jpg'
    assert said in record.getMessage()
    # as in the official code: cut to the image, then dropped
    assert dataset[1]['box_ids'].tolist() == [0, 4]
    assert dataset[1]['boxes'].tolist() == [[10, 20, 60, 90], [5, 50, 80, 99]]
    place = 'entry 1 (b.jpg), annotations[{}].bbox'.format
    code, kinds = checked()
    assert code == 1
    assert kinds == {
        'box with swapped corners': [place(2)],
        'box without area': [place(1)],
        'box outside its image': [place(3)],
    }


@pytest.mark.parametrize(
    ('part', 'field', 'value', 'said'),
    [
        ('annotations', 'bbox', [1, 2, 3, float('nan')], 'expected 4 finite numbers'),
        ('annotations', 'bbox', [1, 2, 3, 10**400], 'expected 4 finite numbers'),
        ('annotations', 'bbox', [1, 2, 3, True], 'expected 4 finite numbers'),
        ('annotations', 'category_id', 12, 'none of the 80 COCO category ids'),
        ('annotations', 'category_id', '9' * 5000, 'expected an integer'),
        ('hoi_annotation', 'category_id', 118, 'verb 118 is not in 1-117'),
        ('hoi_annotation', 'category_id', 2**70, 'verb .* is not in 1-117'),
        ('hoi_annotation', 'object_id', 2**64, 'expected an integer, the place of a box'),
    ],
)
def test_f24_numbers_and_ids(folder, refused, checked, part, field, value, said):
    bad = entry('b.jpg')
    bad[part][0][field] = value
    file = write(folder, [entry(), bad, entry('c.jpg')])
    where = f'entry 1 (b.jpg), {part}[0].{field}'
    message = refused()
    assert message.startswith(f'{file}, {where}: ')
    with pytest.raises(AnnotationError, match=said):
        HICODet(ann_file=file, test_mode=True)
    assert [where] in checked()[1].values()


SQUARE, NEAR, FAR = (0, 0, 99, 99), (2, 0, 99, 99), (200, 200, 299, 299)


def measure(folder, hois, predictions, protocol='official'):
    """Average precision by interaction, of (subject, object, verb) found on one image."""
    boxes = [SQUARE, SQUARE, NEAR, SQUARE]
    content = entry('a.jpg', boxes, hois)
    content['annotations'][3]['category_id'] = 18
    file = write(folder, [content])
    sample = HICODet(ann_file=file, test_mode=True)[0]
    count = len(predictions)
    record = ImageRecord(
        0,
        'a.jpg',
        sample['boxes'],
        sample['labels'].astype(np.uint8),
        sample['hois'].astype(np.int32),
        np.array([box for box, _, _ in predictions], np.float32),
        np.array([SQUARE] * count, np.float32),
        np.array([object_ for _, object_, _ in predictions], np.uint8),
        np.array([verb for _, _, verb in predictions], np.uint8),
        np.linspace(0.9, 0.1, count, dtype=np.float32),
    )
    results = evaluate_triplets([record], PROTOCOLS[protocol])
    return {int(h): float(ap) for h, ap in zip(results.hois, results.ap, strict=True) if ap == ap}


RIDE_BICYCLE, HOLD_BICYCLE = HOI_INDEX[[RIDE, HOLD], BICYCLE].tolist()


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_f25_duplicate_and_near_identical_pairs(folder, checked, protocol):
    # each annotated pair counts, also one that repeats another: one prediction finds one of them
    for other in (0, 2):
        hois = [(0, 1, RIDE), (other, 1, RIDE)]
        one = measure(folder, hois, [(SQUARE, BICYCLE, RIDE)], protocol)
        assert one == pytest.approx({RIDE_BICYCLE: 6 / 11})
    assert checked()[1]['near-identical pair'] == ['entry 0 (a.jpg), hoi_annotation[1]']
    # a second prediction takes its best pair, the first, again, and has no second choice
    twice = [(SQUARE, BICYCLE, RIDE), (SQUARE, BICYCLE, RIDE)]
    assert measure(folder, hois, twice, protocol) == pytest.approx({RIDE_BICYCLE: 6 / 11})
    shifted = [(SQUARE, BICYCLE, RIDE), (NEAR, BICYCLE, RIDE)]
    assert measure(folder, hois, shifted, protocol) == pytest.approx({RIDE_BICYCLE: 1})


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_f25_no_interaction_is_a_class_like_any_other(folder, protocol):
    found = [(SQUARE, BICYCLE, NO_INTERACTION), (FAR, BICYCLE, RIDE)]
    hois = [(0, 1, NO_INTERACTION), (0, 1, RIDE)]
    expected = {int(HOI_INDEX[NO_INTERACTION, BICYCLE]): 1, RIDE_BICYCLE: 0}
    assert measure(folder, hois, found, protocol) == pytest.approx(expected)


def test_f25_combination_that_is_none_of_the_600(folder, checked):
    assert HOI_INDEX[RIDE, DOG] == -1
    found = [(SQUARE, BICYCLE, HOLD), (SQUARE, DOG, RIDE)]
    hois = [(0, 1, HOLD), (0, 3, RIDE)]
    for protocol in ('official', 'pocket'):
        assert measure(folder, hois, found, protocol) == pytest.approx({HOLD_BICYCLE: 1})
    # QPIC makes a class of each annotated triplet, of this one too
    assert measure(folder, hois, found, 'qpic') == pytest.approx({HOLD_BICYCLE: 1, -1: 1})
    expected = ['entry 0 (a.jpg), hoi_annotation[1]']
    assert checked()[1]['impossible combination'] == expected


def test_f25_object_index_minus_one(folder, checked, log):
    file = write(folder, [entry('a.jpg', hois=[(0, 1, RIDE), (0, -1, HOLD)]), entry('b.jpg')])
    with pytest.raises(AnnotationError, match='subject 0 or object -1 is outside the 2 boxes'):
        HICODet(ann_file=file, test_mode=True)
    assert [sample['file_name'] for sample in HICODet(ann_file=file)] == ['b.jpg']
    assert 'dropped 1 of 2 images' in log.text
    assert checked() == (1, {'bad index': ['entry 0 (a.jpg), hoi_annotation[1]']})
