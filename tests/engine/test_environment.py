import json
import sys
from importlib import metadata

import torch

from mmvl.engine import environment
from mmvl.engine.environment import environment_report, format_report, report_as_dicts


def by_name(findings):
    return {finding.name.strip(): finding for finding in findings}


def test_versions_are_the_installed_ones(tmp_path):
    found = by_name(environment_report(tmp_path))
    assert found['torch'].value == metadata.version('torch')
    assert found['mmengine'].value == metadata.version('onedl-mmengine')
    assert found['python'].value.startswith('.'.join(map(str, sys.version_info[:3])))
    assert found['mmcv.ops'].value.startswith('built for')


def test_a_missing_package_has_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, 'PACKAGES', {'ghost': 'no-such-distribution'})
    ghost = by_name(environment_report(tmp_path))['ghost']
    assert ghost.value == 'missing'
    assert 'make env' in ghost.remedy


def test_an_old_torch_is_pointed_out(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.metadata, 'version', lambda name: '2.9.1')
    assert (
        'do not load checkpoints of strangers'
        in by_name(environment_report(tmp_path))['torch'].remedy
    )


def test_operators_that_do_not_load_have_a_remedy(tmp_path, monkeypatch):
    def fail(name):
        raise ImportError('undefined symbol: _ZN3c10\nmore')

    monkeypatch.setattr(environment.importlib, 'import_module', fail)
    ops = by_name(environment_report(tmp_path))['mmcv.ops']
    assert ops.value == 'missing (undefined symbol: _ZN3c10)'
    assert 'make clean env' in ops.remedy


def test_datasets_are_listed_file_by_file(tmp_path):
    root = tmp_path / 'hico_20160224_det'
    assert by_name(environment_report(tmp_path))[str(root)].value == 'missing'
    (root / 'images' / 'train2015').mkdir(parents=True)
    (root / 'images' / 'train2015' / 'a.jpg').write_bytes(b'x')
    (root / 'annotations').mkdir()
    (root / 'annotations' / 'test_hico.json').write_bytes(b' ' * 2**20)
    found = by_name(environment_report(tmp_path))
    assert found['images/train2015'].value == '1 files'
    assert found['annotations/test_hico.json'].value == '1.0 MiB'
    assert found['annotations/trainval_hico.json'].value == 'missing'
    assert 'training pairs' in found['annotations/trainval_hico.json'].remedy


def test_report_forms(tmp_path):
    findings = environment_report(tmp_path)
    text = format_report(findings)
    assert text.splitlines()[0] == 'versions'
    assert '  torch' in text
    remedies = [finding for finding in findings if finding.remedy]
    assert text.count('-> ') == len(remedies)
    rows = json.loads(json.dumps(report_as_dicts(findings)))
    assert {row['group'] for row in rows} == {'versions', 'operators', 'devices', 'data'}
    assert len(rows) == len(findings)
    assert any(row['name'] == ('cuda:0' if torch.cuda.is_available() else 'cuda') for row in rows)
