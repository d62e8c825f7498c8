"""What `mmvl data check` finds, in which words and where."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mmvl.cli import main as cli
from mmvl.engine.data_check import DataCheckError, Problem, Report, check_config
from mmvl.hoi.datasets import HICODet
from mmvl.hoi.toy import write_world
from mmvl.hoi.vocabulary import COCO_IDS, NO_INTERACTION, OBJECTS, VERBS

PERSON, BICYCLE, DOG = 0, 1, 16
RIDE, HOLD = VERBS.index('ride'), VERBS.index('hold')
BOXES = [(10, 20, 60, 90), (5, 50, 80, 99), (30, 10, 70, 95), (61, 70, 79, 98)]
LABELS = [PERSON, BICYCLE, PERSON, DOG]


def entry(name='a.jpg', boxes=BOXES, labels=LABELS, hois=((0, 1, RIDE),)):
    return {
        'file_name': name,
        'annotations': [
            {'bbox': list(box), 'category_id': int(COCO_IDS[label])}
            for box, label in zip(boxes, labels, strict=True)
        ],
        'hoi_annotation': [
            {'subject_id': s, 'object_id': o, 'category_id': v + 1} for s, o, v in hois
        ],
    }


def moved(dx, box=BOXES[0]):
    return (box[0] + dx, box[1], box[2] + dx, box[3])


@pytest.fixture
def check(tmp_path):
    """Write a file and give the report on it, with images of 100 x 100 pixels where asked for."""

    def go(content, pictures=(), **config) -> Report:
        (tmp_path / 'a.json').write_text(json.dumps(content))
        for name in pictures:
            Image.new('RGB', (100, 100)).save(tmp_path / name)
        config = {'data_root': str(tmp_path), 'ann_file': 'a.json', **config}
        return HICODet.check(images=bool(pictures), **config)

    return go


def found(report, error=True):
    return [(p.kind, p.where, p.detail) for p in report.problems if p.is_error == error]


def test_nothing_wrong(check, tmp_path):
    report = check([entry(), entry('b.jpg')], ['a.jpg', 'b.jpg'])
    assert report.problems == []
    assert report.file == str(tmp_path / 'a.json')
    assert report.as_text().endswith('nothing wrong')


def test_every_fault_of_an_entry_is_named(check):
    bad = entry('b.jpg', hois=[(0, 1, RIDE), (0, 1, HOLD), (0, 4, RIDE), (-1, 1, RIDE)])
    bad['annotations'][0]['bbox'] = [1, 2, 3, float('nan')]
    bad['annotations'][1]['bbox'] = [1, 2, 3]
    bad['annotations'][2]['category_id'] = 12
    del bad['annotations'][3]['category_id']
    bad['hoi_annotation'][0]['category_id'] = 118
    bad['hoi_annotation'][1]['subject_id'] = '0'
    where = 'entry 1 (b.jpg), '
    expected = [
        ('bad box', f'{where}annotations[0].bbox'),
        ('bad box', f'{where}annotations[1].bbox'),
        ('unknown object', f'{where}annotations[2].category_id'),
        ('malformed entry', f'{where}annotations[3]'),
        ('unknown verb', f'{where}hoi_annotation[0].category_id'),
        ('bad index', f'{where}hoi_annotation[1].subject_id'),
        ('malformed entry', 'entry 2'),
        ('malformed entry', 'entry 3 (c.jpg)'),
        ('bad file name', 'entry 4.file_name'),
        ('bad index', f'{where}hoi_annotation[2]'),
        ('bad index', f'{where}hoi_annotation[3]'),
    ]
    report = check([entry(), bad, 7, {'file_name': 'c.jpg', 'annotations': []}, entry('')])
    assert [problem[:2] for problem in found(report)] == expected
    assert found(report)[-2][2] == 'subject 0 or object 4 is outside the 4 boxes'
    assert report.errors == len(expected)
    # what could be read is counted: two boxes of b.jpg have no class, and two no numbers
    assert report.counts['images'] == 5
    assert report.counts['boxes'] == 4 + 2 + 4
    assert report.classes['objects (boxes)']['dog'] == 2
    assert report.counts['interactions'] == 2


def test_boxes_and_their_image(check):
    boxes = [
        (60, 20, 10, 90),  # swapped
        (10, 20, 60, 20),  # flat
        (120, 20, 160, 90),  # outside
        (-50, 20, 0, 90),  # outside, on the other side
        (-1, -1, 101, 101),  # one pixel
        (50, 20, 103, 90),  # beyond
    ]
    labels = [PERSON] * len(boxes)
    report = check([entry(), entry('b.jpg', boxes, labels, ())], ['a.jpg', 'b.jpg'])
    place = 'entry 1 (b.jpg), annotations[{}].bbox'
    assert found(report) == [
        ('box with swapped corners', place.format(0), '[60, 20, 10, 90] in 100 x 100 pixels'),
        ('box without area', place.format(1), '[10, 20, 60, 20] in 100 x 100 pixels'),
        ('box outside its image', place.format(2), '[120, 20, 160, 90] in 100 x 100 pixels'),
        ('box outside its image', place.format(3), '[-50, 20, 0, 90] in 100 x 100 pixels'),
    ]
    assert found(report, error=False) == [
        ('image without interaction', 'entry 1 (b.jpg)', '6 boxes, no interaction'),
        ('box beyond the edge', place.format(5), '[50, 20, 103, 90] in 100 x 100 pixels'),
    ]
    # without the images their sizes are not known
    kinds = [p.kind for p in check([entry('b.jpg', boxes, labels, ())]).problems if p.is_error]
    assert kinds == ['box with swapped corners', 'box without area', 'box outside its image']


def test_repeats(check):
    boxes = [BOXES[0], BOXES[1], moved(2), BOXES[0], moved(3), moved(40)]
    labels = [PERSON, BICYCLE, PERSON, PERSON, PERSON, PERSON]
    hois = [(0, 1, RIDE), (2, 1, RIDE), (3, 1, RIDE), (4, 1, RIDE), (5, 1, RIDE), (0, 1, HOLD)]
    report = check([entry('a.jpg', boxes, labels, [*hois, (0, 1, RIDE)])])
    where = 'entry 0 (a.jpg), '
    # overlaps: 48 of 52 columns is 0.92, 47 of 53 is 0.89, but 49 of 51 with the box moved by 2
    assert found(report, error=False) == [
        ('near-identical box', f'{where}annotations[2].bbox', 'like annotations[0].bbox'),
        ('duplicate box', f'{where}annotations[3].bbox', 'like annotations[0].bbox'),
        ('near-identical box', f'{where}annotations[4].bbox', 'like annotations[2].bbox'),
        ('near-identical pair', f'{where}hoi_annotation[1]', 'like hoi_annotation[0]'),
        ('duplicate pair', f'{where}hoi_annotation[2]', 'like hoi_annotation[0]'),
        ('near-identical pair', f'{where}hoi_annotation[3]', 'like hoi_annotation[1]'),
        ('duplicate pair', f'{where}hoi_annotation[6]', 'like hoi_annotation[0]'),
    ]
    assert report.counts['pairs of boxes'] == 5
    assert report.errors == 0


def test_same_boxes_of_two_classes_are_no_repeat(check):
    same = [BOXES[0], BOXES[0], BOXES[0]]
    report = check([entry('a.jpg', same, [PERSON, BICYCLE, DOG], [(0, 1, HOLD), (0, 2, HOLD)])])
    assert report.problems == []


def test_combinations_and_statistics(check):
    hois = [(0, 1, RIDE), (0, 3, RIDE), (2, 1, NO_INTERACTION), (2, 1, HOLD)]
    report = check([entry(), entry('b.jpg', hois=hois), entry('a.jpg'), entry('c.jpg', [], [], [])])
    assert found(report) == [
        ('duplicate image', 'entry 2 (a.jpg)', 'the same image as entry 0 (a.jpg)'),
        (
            'impossible combination',
            'entry 1 (b.jpg), hoi_annotation[1]',
            'ride dog is none of the 600 interactions',
        ),
    ]
    assert report.counts == {
        'images': 4,
        'boxes': 12,
        'pairs of boxes': 5,
        'interactions': 6,
        'of these no_interaction': 1,
    }
    present = {group: {k: v for k, v in c.items() if v} for group, c in report.classes.items()}
    assert present == {
        'objects (boxes)': {'person': 6, 'bicycle': 3, 'dog': 3},
        'verbs': {'hold': 1, 'no_interaction': 1, 'ride': 4},
        'interactions': {'hold bicycle': 1, 'ride bicycle': 3, 'no_interaction bicycle': 1},
    }
    assert [len(c) for c in report.classes.values()] == [80, 117, 600]
    text = report.as_text()
    assert 'verbs: 3 of 117 present\n    most    ride 4, hold 1, no_interaction 1\n' in text


def test_boxes_beyond_the_limit_of_training(check):
    hois = [(0, 1, RIDE), (2, 3, HOLD), (0, 3, HOLD)]
    content = [entry('a.jpg', hois=hois)]
    detail = '4: training leaves out all behind the first 3, and 2 interactions'
    expected = [('many boxes', 'entry 0 (a.jpg)', detail)]
    assert found(check(content, max_boxes=3), error=False) == expected
    assert check(content, max_boxes=4).problems == []
    assert check(content, max_boxes=3, test_mode=True).problems == []


def test_sizes_that_the_pair_form_declares(check):
    pairs = {'boxes_h': [[11, 21, 60, 90]] * 2, 'boxes_o': [[6, 51, 80, 99], [301, 1, 310, 9]]}
    content = {
        'annotation': [{**pairs, 'object': [1, 1], 'verb': [RIDE, RIDE], 'hoi': [0, 0]}],
        'filenames': ['a.jpg'],
        'objects': list(OBJECTS),
        'verbs': list(VERBS),
        'size': [[300, 200]],
    }
    outside = ('box outside its image', 'annotation[0] (a.jpg), boxes_o[1]')
    detail = '[300, 0, 310, 9] in 300 x 200 pixels'
    assert found(check(content)) == [(*outside, detail)]
    for sizes in ([], [[300]], [['x', 'y']], 7, [[310, 10**400]], None):
        assert found(check(dict(content, size=sizes))) == []


def test_text_shows_the_first_of_each_kind():
    problems = [Problem('bad box', 'a.json', f'entry {i}', 'flat') for i in range(7)]
    problems.append(Problem('missing image', 'images/x.jpg', 'entry 3', 'there is no such file'))
    problems.append(Problem('many boxes', 'a.json', 'entry 0', '99', is_error=False))
    report = Report('a.json', {'images': 1234}, {'verbs': {'a': 0, 'b': 2}}, problems)
    assert report.as_text(2).splitlines() == [
        'images                          1,234',
        'verbs: 1 of 2 present',
        '    most    b 2',
        'ERROR bad box                               7',
        '    entry 0: flat',
        '    entry 1: flat',
        '    ... and 5 more (--all, or --json FILE)',
        'ERROR missing image                         1',
        '    images/x.jpg: entry 3: there is no such file',
        'note  many boxes                            1',
        '    entry 0: 99',
    ]
    assert report.as_text(None).count(': flat') == 7
    assert 'more' not in report.as_text(None)


def test_distinct_datasets_are_checked_once():
    calls = []

    class Fake:
        @classmethod
        def check(cls, images, **config):
            calls.append((images, config))
            return Report(config['ann_file'])

    def fake(name, **more):
        return {'type': Fake, 'ann_file': name, **more}

    wrapped = {'type': 'ConcatDataset', 'datasets': [fake('a'), {'dataset': fake('b')}]}
    config = {
        'train_dataloader': {'dataset': {'type': 'RepeatDataset', 'times': 2, 'dataset': wrapped}},
        'val_dataloader': {'dataset': fake('b', pipeline=['x'])},
        'test_dataloader': None,
    }
    results = check_config(config, images=False)
    assert calls == [(False, {'ann_file': 'a'}), (False, {'ann_file': 'b'})]
    users = ['train_dataloader', 'val_dataloader']
    assert [(r['used_by'], r['report'].file) for r in results] == [(users[:1], 'a'), (users, 'b')]
    with pytest.raises(DataCheckError, match='names no dataset'):
        check_config({'train_dataloader': {'batch_size': 2}})
    with pytest.raises(DataCheckError, match='dict cannot be checked'):
        check_config({'val_dataloader': {'dataset': {'type': dict}}})


@pytest.fixture
def world(tmp_path) -> Path:
    write_world(tmp_path / 'world', num_train=6, num_test=3)
    return tmp_path / 'world'


def run(capsys, world, *words):
    options = ['--cfg-options', f'data_root={world}/']
    code = cli.main(['data', 'check', 'configs/eoid/toy_ua.py', *words, *options])
    return code, capsys.readouterr()


def test_command_lists_and_counts(world, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    code, said = run(capsys, world)
    assert (code, said.err) == (0, '')
    assert said.out.endswith('\nerrors: 0\n')
    train, test = (world / 'images' / f'{half}2015' for half in ('train', 'test'))
    name = 'HICO_{}2015_0000000{}.jpg'.format
    (train / name('train', 2)).unlink()
    (test / name('test', 1)).write_bytes((test / name('test', 1)).read_bytes()[:600])
    out = tmp_path / 'out.json'
    code, said = run(capsys, world, '--json', str(out))
    assert code == 1
    assert f'{train}/{name("train", 2)}: entry 1 ({name("train", 2)}): there is no' in said.out
    assert said.out.endswith('\nerrors: 2\n')
    written = json.loads(out.read_text())
    assert written['errors'] == 2
    kinds = [
        [p['kind'] for p in d['report']['problems'] if p['is_error']] for d in written['datasets']
    ]
    assert kinds == [['missing image'], ['damaged image']]
    assert written['datasets'][1]['used_by'] == ['val_dataloader', 'test_dataloader']
    code, said = run(capsys, world, '--json', '-')
    assert (code, json.loads(said.out)) == (1, written)
    assert run(capsys, world, '--no-images')[0] == 0
    shutil.rmtree(train)
    assert '... and 1 more (--all' in run(capsys, world)[1].out
    assert name('train', 6) + ': entry 5' in run(capsys, world, '--all')[1].out


def test_command_refuses_what_is_not_there(tmp_path, capsys):
    assert cli.main(['data', 'check', str(tmp_path / 'none.py'), '--no-images']) == 2
    assert "none.py' does not exist" in capsys.readouterr().err
    (tmp_path / 'a.py').write_text('model = 3')
    assert cli.main(['data', 'check', str(tmp_path / 'a.py')]) == 2
    assert 'names no dataset' in capsys.readouterr().err


def test_command_unpacks(tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.txt').write_text('text')
    archive = shutil.make_archive(str(tmp_path / 'a'), 'zip', tmp_path / 'in')
    assert cli.main(['data', 'unpack', archive, str(tmp_path / 'out')]) == 0
    assert (tmp_path / 'out' / 'a.txt').read_text() == 'text'
    capsys.readouterr()
    assert cli.main(['data', 'unpack', archive, str(tmp_path / 'out')]) == 2
    assert 'is not empty' in capsys.readouterr().err
