"""What `mmvl data check` finds in referring expressions."""

from pathlib import Path

from PIL import Image

from mmvl.engine.data_check import check_config
from mmvl.grounding.datasets import (
    GroundingIndex,
    MDETRRefCOCO,
    RefCOCO,
    coco_images_to_leave_out,
)


def found(report, error=True):
    return [(p.kind, Path(p.file).name, p.where) for p in report.problems if p.is_error == error]


def test_check_of_good_files(forms, tmp_path):
    forms.put_images(tmp_path / 'images')
    root = forms.write_refer(tmp_path)
    report = RefCOCO.check(split='testA', data_root=root, data_prefix={'img': 'images'})
    assert report.errors == 0
    assert report.counts == {
        'sentences': 4,
        'referents': 2,
        'images': 1,
        'with a mask': 4,
        'with several boxes': 0,
    }
    splits = {'train': 3, 'val': 1, 'testA': 3, 'testB': 1, 'testAB': 1}
    assert report.classes['sentences by split'] == splits
    assert report.classes['referents by split']['train'] == 2
    assert report.classes['images by split']['train'] == 1
    (note,) = report.problems
    assert (note.kind, note.is_error) == ('not as published', False)
    said = '4 sentences of 5,657, 2 referents of 1,975, 1 images of 750'
    assert note.detail == f'{said} published for refcoco testA'
    forms.write_mdetr(tmp_path, 'val')
    forms.write_index(tmp_path, forms.index('val'))
    for kind, more in ((MDETRRefCOCO, {}), (GroundingIndex, {'name': 'unc'})):
        report = kind.check(images=False, split='val', data_root=root, **more)
        assert (report.errors, report.counts['sentences']) == (0, 1)
        assert report.classes == {}
    # nothing is published for this one
    options = {'ann_file': 'refcoco/refs(unc).p', 'data_root': root}
    assert RefCOCO.check(False, name='refclef', split='val', **options).problems == []


def test_check_of_a_config(forms, tmp_path):
    forms.put_images(tmp_path / 'images')
    dataset = {'type': 'RefCOCO', 'data_root': forms.write_refer(tmp_path), 'split': 'val'}
    dataset.update(data_prefix={'img': 'images'}, pipeline=[{'type': 'LoadReferringImage'}])
    other = {**dataset, 'split': 'train', 'per_ref': True, 'max_missing': 0.01}
    config = {'train_dataloader': {'dataset': other}, 'test_dataloader': {'dataset': dataset}}
    train, test = check_config(config)
    assert (train['used_by'], train['type']) == (['train_dataloader'], 'RefCOCO')
    assert (train['report'].errors, train['report'].counts['sentences']) == (0, 3)
    assert (test['report'].errors, test['report'].counts['sentences']) == (0, 1)


def test_check_lists_every_problem(forms, tmp_path):
    forms.put_images(tmp_path / 'images', [forms.NAMES[11], forms.NAMES[22]])
    (tmp_path / 'images' / forms.NAMES[11]).write_bytes(b'junk')
    Image.new('RGB', (50, 60)).save(tmp_path / 'images' / 'd.png')
    refs, content = forms.references(), forms.instances()
    for ref in refs:
        ref['split'] = 'val'
    content['images'].append({'id': 44, 'file_name': 'd.png', 'width': 50, 'height': 40})
    boxes = [[0, 0, 50, 60], [60, 0, 10, 10], [0, 0, 0, 5], [-3, 0, 10, 10]]
    codes = [
        {'size': [60, 50], 'counts': [0, 3000]},
        {'size': [50, 60], 'counts': [0, 3000]},
        [{'size': [60, 50], 'counts': [0, 2999]}],
        [[0.0, 0.0, 70.0, 0.0, 70.0, 50.0]],
    ]
    for i, (box, code) in enumerate(zip(boxes, codes, strict=True)):
        ref = {'ref_id': 50 + i, 'ann_id': 400 + i, 'image_id': 44, 'split': 'val'}
        ref['sentences'] = [{'sent_id': 2000 + i, 'sent': 'x'}]
        refs.append(ref)
        annotation = {'id': 400 + i, 'image_id': 44, 'bbox': box, 'segmentation': code}
        content['annotations'].append(annotation)
    refs[0]['sentences'][0]['sent'] = ' \t'
    refs[0]['sentences'][1]['sent'] = 'x ' * 101
    refs[1]['sentences'][0]['sent_id'] = 1000
    refs[2]['ann_id'] = 999
    refs[3]['sentences'][1] = None
    root = forms.write_refer(tmp_path, refs, content)
    options = {'split': 'val', 'data_root': root, 'data_prefix': {'img': 'images'}}
    report = RefCOCO.check(**options)
    place = 'annotations[{}].{}'.format
    assert found(report) == [
        ('unknown annotation', 'refs(unc).p', 'entry 2.ann_id'),
        ('malformed entry', 'refs(unc).p', 'entry 3, sentences[1]'),
        ('damaged image', forms.NAMES[11], 'entry 0, sentences[0].sent'),
        ('missing image', 'c.jpg', 'entry 3, sentences[0].sent'),
        ('other image size', 'd.png', 'entry 6, sentences[0].sent'),
        ('empty sentence', 'refs(unc).p', 'entry 0, sentences[0].sent'),
        ('duplicate sentence id', 'refs(unc).p', 'entry 1, sentences[0].sent'),
        ('box outside its image', 'instances.json', place(6, 'bbox')),
        ('box without area', 'instances.json', place(7, 'bbox')),
        ('bad mask', 'instances.json', place(6, 'segmentation')),
        ('bad mask', 'instances.json', place(7, 'segmentation')),
        ('bad mask', 'instances.json', place(8, 'segmentation')),
    ]
    assert found(report, error=False) == [
        ('long sentence', 'refs(unc).p', 'entry 0, sentences[1].sent'),
        ('box beyond the edge', 'instances.json', place(8, 'bbox')),
        ('not as published', 'refs(unc).p', ''),
    ]
    assert report.counts['sentences'] == 2 + 1 + 2 + 1 + 1 + 4


def test_check_of_unreadable_files(forms, tmp_path):
    root = str(tmp_path)
    report = RefCOCO.check(split='val', data_root=root)
    assert [p.kind for p in report.problems] == ['missing annotation']
    forms.write_refer(tmp_path, {'a': 1})
    (problem,) = RefCOCO.check(split='val', data_root=root).problems
    assert problem.kind == 'unreadable annotation'
    assert "expected a list of references, got {'a': 1}" in problem.detail
    forms.write_index(tmp_path, [forms.Call(Path.mkdir, tmp_path / 'ran')])
    (problem,) = GroundingIndex.check(name='unc', split='val', data_root=root).problems
    assert 'which is code and not data' in problem.detail


def test_coco_images_to_leave_out(forms, tmp_path):
    forms.write_refer(tmp_path)
    google = forms.references()
    for ref in google:
        ref['split'] = 'train'
    google[0]['split'] = 'test'
    forms.write_refer(tmp_path, google, name='refcocog', split_by='google')
    files = [tmp_path / 'refcoco/refs(unc).p', str(tmp_path / 'refcocog/refs(google).p')]
    assert coco_images_to_leave_out(files[0]) == [22, 33]
    assert coco_images_to_leave_out(*files) == [11, 22, 33]
    assert coco_images_to_leave_out(*files, splits=['val']) == [22]
    assert coco_images_to_leave_out(files[0], splits=['testB']) == [33]
