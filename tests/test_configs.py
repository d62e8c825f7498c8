"""Every config: how it is laid out, what it builds, and that all places name the same numbers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmvl.hoi.splits import unseen_hois
from mmvl.hoi.toy import TOY_UA, TOY_UC
from mmvl.registry import HOOKS, METRICS, MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
LEAVES = sorted(f for f in ROOT.glob('configs/**/*.py') if '_base_' not in f.parts)
BASES = sorted(ROOT.glob('configs/_base_/**/*.py'))
HEADER = ('command', 'to reach', 'published', 'hardware')
# config -> interactions that it holds out
HELD_OUT = {
    'hico': 100,
    'hico_ua_all_pairs': 100,
    **{f'hico_uc{i}': 120 for i in range(5)},
    'hico_rf_uc': 120,
    'hico_rf_uc_138': 138,
    'hico_nf_uc': 120,
    'hico_uo': 100,
    'hico_uv': 84,
    'cdn_hico': 0,
    'cdn_hico_ua': 100,
    'cdn_hico_uc0': 120,
    'hico_mini': 0,
    'toy_detector': 0,
    'toy_ua': len(TOY_UA),
    'toy_ua_cdn': len(TOY_UA),
    'toy_uc': len(TOY_UC),
    'toy_uc_cdn': len(TOY_UC),
}
ABSOLUTE = re.compile(r'^(/|~|[A-Za-z]:[\\/])')


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def header_of(file: Path) -> dict[str, str]:
    lines = [line[1:] for line in file.read_text().split('_base_ =')[0].splitlines() if line]
    rows = [re.split(r'\s{2,}', line.strip(), maxsplit=1) for line in lines[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


@pytest.fixture(scope='module')
def parameters() -> Any:
    """Total and trainable parameters of a config's model; each distinct model is built once."""
    counts: dict[str, tuple[int, int]] = {}

    def count(config: Config) -> tuple[int, int]:
        settings = {k: v for k, v in config.model.to_dict().items() if k != 'teacher'}
        key = str(settings)
        if key not in counts:
            with torch.device('meta'), DefaultScope.overwrite_default_scope('mmvl'):
                model = MODELS.build(settings)
            sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
            counts[key] = sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
        return counts[key]

    return count


def test_every_method_has_a_toy_config_and_every_leaf_is_listed() -> None:
    assert {f.stem for f in LEAVES if f.parent.name == 'eoid'} == set(HELD_OUT)
    for folder in {f.parent for f in LEAVES}:
        assert list(folder.glob('toy*.py')) and (folder / 'README.md').is_file(), folder


@pytest.mark.parametrize('file', LEAVES, ids=name_of)
def test_leaf_is_one_hop_above_two_bases(file: Path) -> None:
    bases = re.findall(r'^_base_ = \[(.*?)\]$', file.read_text(), re.MULTILINE | re.DOTALL)
    assert len(bases) == 1
    named = [(file.parent / name).resolve() for name in re.findall(r"'([^']+)'", bases[0])]
    assert 1 <= len(named) <= 2 and set(named) <= set(BASES)
    assert '_delete_' not in file.read_text()


@pytest.mark.parametrize('file', BASES, ids=name_of)
def test_base_stands_on_nothing(file: Path) -> None:
    assert '_base_' not in file.read_text()
    Config.fromfile(file)


@pytest.mark.parametrize('file', LEAVES, ids=name_of)
def test_header_names_command_number_source_and_hardware(file: Path) -> None:
    header = header_of(file)
    assert list(header) == list(HEADER)
    assert name_of(file) in header['command']


@pytest.mark.parametrize('file', LEAVES, ids=name_of)
def test_config_loads_and_everything_in_it_builds(file: Path, parameters: Any) -> None:
    config = Config.fromfile(file)
    total, trainable = parameters(config)
    assert 0 < trainable <= total
    assert config.default_scope == 'mmvl'
    with DefaultScope.overwrite_default_scope('mmvl'):
        for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
            for step in loader.dataset.pipeline:
                TRANSFORMS.build(step)
        for evaluator in (config.val_evaluator, config.test_evaluator):
            METRICS.build(evaluator)
        for hook in config.default_hooks.values():
            HOOKS.build(hook)


@pytest.mark.parametrize('file', LEAVES, ids=name_of)
def test_no_absolute_path(file: Path) -> None:
    assert [text for text in texts(Config.fromfile(file).to_dict()) if ABSOLUTE.match(text)] == []


@pytest.mark.parametrize('name', HELD_OUT)
def test_held_out_interactions(name: str) -> None:
    """Targets and metrics of a config hold out the same interactions, as many as published."""
    config = Config.fromfile(ROOT / f'configs/eoid/{name}.py')
    ids = unseen_hois(config.unseen)
    assert len(ids) == HELD_OUT[name]
    targets = [s for s in config.train_dataloader.dataset.pipeline if s.type == 'BuildPairTargets']
    for part in (*targets, config.val_evaluator, config.test_evaluator):
        assert unseen_hois(part.unseen).tolist() == ids.tolist()
    assert len(targets) == 1
    if name.startswith(('toy_ua', 'toy_uc')):
        assert ids.tolist() == list(TOY_UA if 'ua' in name else TOY_UC)
    elif config.unseen is not None:
        assert targets[0].hide == ('verb' if config.unseen in ('ua', 'uv') else 'combination')


def test_five_uc_sets_differ() -> None:
    names = [Config.fromfile(ROOT / f'configs/eoid/hico_uc{i}.py').unseen for i in range(5)]
    assert names == [f'uc{i}' for i in range(5)]


def test_published_size(parameters: Any) -> None:
    """The parameter counts of the released EoID."""
    count = parameters(Config.fromfile(ROOT / 'configs/eoid/hico.py'))
    assert count == (41_676_432, 41_454_032)
    # without the interactive score: Linear(256, 2)
    baseline = parameters(Config.fromfile(ROOT / 'configs/eoid/cdn_hico_ua.py'))
    assert baseline == (41_676_432 - 514, 41_454_032 - 514)


def test_model_index_imports_every_metafile() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    found = {str(file.relative_to(ROOT)) for file in ROOT.glob('configs/*/metafile.yml')}
    assert set(index['Import']) == found == {'configs/eoid/metafile.yml'}


def test_metafile_config_header_and_readme_agree() -> None:
    content = yaml.safe_load((ROOT / 'configs/eoid/metafile.yml').read_text())
    readme = (ROOT / 'configs/eoid/README.md').read_text()
    overview = (ROOT / 'README.md').read_text()
    collections = {entry['Name'] for entry in content['Collections']}
    models = content['Models']
    assert {m['Config'] for m in models} == {name_of(f) for f in LEAVES if f.parent.name == 'eoid'}
    assert len({m['Name'] for m in models}) == len(models)
    for model in models:
        assert model['In Collection'] in collections
        results = model.get('Results', [])
        numbers = [f'{v:.2f}' for result in results for v in result['Metrics'].values()]
        to_reach = header_of(ROOT / model['Config'])['to reach']
        # the first three, without standard deviations; a re-run stands behind them
        reached = re.findall(r'(?<!\+- )\b\d+\.\d\d', to_reach)
        assert numbers == reached[:3], model['Config']
        assert all(number in readme for number in numbers), model['Config']
        if numbers and not Path(model['Config']).stem.startswith('cdn'):
            assert ' / '.join(numbers) in overview, model['Config']
