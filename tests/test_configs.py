"""Every config: how it is laid out, what it builds, and that all places name the same numbers."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmvl.hoi.splits import unseen_hois
from mmvl.hoi.toy import TOY_UA, TOY_UC
from mmvl.registry import HOOKS, METRICS, MODELS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
LEAVES = sorted(f for f in ROOT.glob('configs/**/*.py') if '_base_' not in f.parts)
METHODS = sorted({f.parent for f in LEAVES})
BASES = sorted(ROOT.glob('configs/_base_/**/*.py'))
HEADER = ('command', 'to reach', 'published', 'hardware')
# config of EoID -> interactions that it holds out
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
# config of VG-LAW -> dataset, who divided it, splits of validation and test
REFERRING = {
    **dict.fromkeys(
        ('refcoco', 'refcoco_20e', 'refcoco_rec', 'refcoco_static'),
        ('refcoco', 'unc', 'val', 'testA'),
    ),
    'refcoco_plus': ('refcoco+', 'unc', 'val', 'testA'),
    'refcocog': ('refcocog', 'umd', 'val', 'test'),
    'referit': ('refclef', 'berkeley', 'val', 'test'),
}
# backbone of ReferFormer -> parameters of the released model, with RoBERTa
REFERFORMER = {
    'r50': 176_262_207,
    'r101': 195_202_111,
    'swin-t': 176_764_473,
    'swin-l': 346_380_051,
    'video-swin-t': 177_088_101,
    'video-swin-s': 198_746_709,
    'video-swin-b': 237_587_271,
}
ROBERTA = 124_645_632
VIDEO_SWIN = ('video-swin-t', 'video-swin-s', 'video-swin-b')
# data of ReferFormer -> backbones with a published number or checkpoint
BACKBONES = {
    'refytvos': tuple(REFERFORMER),
    'joint': ('r50', 'r101', 'swin-l', *VIDEO_SWIN),
    'refdavis17': ('r50', 'swin-l', 'video-swin-b'),
    'a2d': VIDEO_SWIN,
    'jhmdb': VIDEO_SWIN,
    'pretrain': tuple(REFERFORMER),
}
SCRATCH = tuple(f'{data}_video-swin-t_scratch' for data in ('refytvos', 'a2d', 'jhmdb'))
VIDEO = (*(f'{data}_{name}' for data, names in BACKBONES.items() for name in names), *SCRATCH)
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
ABSOLUTE = re.compile(r'^(/|~|[A-Za-z]:[\\/])')


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def header_of(file: Path) -> dict[str, str]:
    lines = [line[1:] for line in file.read_text().split('_base_ =')[0].splitlines() if line]
    rows = [re.split(r'\s{2,}', line.strip(), maxsplit=1) for line in lines[1:]]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def numbers_of(text: str) -> list[float]:
    """Results in the order in which they stand, without standard deviations."""
    return [float(number) for number in re.findall(r'(?<!\+- )\b\d+\.\d+', text)]


def rows_of(text: str) -> set[tuple[float, ...]]:
    """Results that are written as `29.22 / 30.46 / 23.04`."""
    return {tuple(numbers_of(row)) for row in re.findall(r'\d+\.\d+(?: / \d+\.\d+)*', text)}


def listed_in(readme: str) -> set[str]:
    """Names of configs, also those between the ends of a row such as `x0.py` ... `x4.py`."""
    names = set(re.findall(r'`([\w-]+)\.py`', readme))
    for stem, first, last in re.findall(r'`(\w+?)(\d+)\.py` \.\.\. `\1(\d+)\.py`', readme):
        names |= {f'{stem}{i}' for i in range(int(first), int(last) + 1)}
    return names


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from texts(value)
    elif isinstance(node, str):
        yield node


def loaders_of(config: Config) -> list[Any]:
    """Configs of its data loaders; where nothing is trained there is only that of the test."""
    return [config[name] for name in LOADERS if name in config]


def datasets_of(dataset: Any) -> Iterator[Any]:
    """A dataset, or those that are joined in it."""
    yield from dataset.get('datasets', [dataset])


def meta_model(settings: dict[str, Any]) -> torch.nn.Module:
    """A model without memory for its weights.

    mmdet's Swin reads numbers from a tensor, which therefore is a real one.
    """
    swin = settings.get('backbone', {}).get('type') == 'mmdet.SwinTransformer'
    device = 'cpu' if swin else 'meta'
    real = patch.object(torch, 'linspace', partial(torch.linspace, device=device))
    with real, torch.device('meta'), DefaultScope.overwrite_default_scope('mmvl'):
        return MODELS.build(settings)


@pytest.fixture(scope='module')
def parameters() -> Any:
    """Total and trainable parameters of a config's model; each distinct model is built once."""
    counts: dict[str, tuple[int, int]] = {}

    def count(config: Config) -> tuple[int, int]:
        left_out = ('teacher', 'test_cfg')
        settings = {k: v for k, v in config.model.to_dict().items() if k not in left_out}
        key = str(settings)
        if key not in counts:
            model = meta_model(settings)
            sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
            counts[key] = sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
        return counts[key]

    return count


@pytest.mark.parametrize('method', METHODS, ids=name_of)
def test_method_has_a_toy_config_and_lists_every_leaf(method: Path) -> None:
    leaves = {f.stem for f in LEAVES if f.parent == method}
    assert any(name.startswith('toy') for name in leaves)
    assert leaves - listed_in((method / 'README.md').read_text()) == set()
    models = yaml.safe_load((method / 'metafile.yml').read_text())['Models']
    assert sorted(m['Config'] for m in models) == [
        f'{name_of(method)}/{name}.py' for name in sorted(leaves)
    ]
    assert len({m['Name'] for m in models}) == len(models)


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
        for loader in loaders_of(config):
            for dataset in datasets_of(loader.dataset):
                for step in dataset.pipeline:
                    TRANSFORMS.build(step)
        for evaluator in (config.get('val_evaluator', []), config.test_evaluator):
            for metric in evaluator if isinstance(evaluator, list) else [evaluator]:
                METRICS.build(metric)
        for hook in config.default_hooks.values():
            HOOKS.build(hook)


@pytest.mark.parametrize('file', LEAVES, ids=name_of)
def test_no_absolute_path(file: Path) -> None:
    assert [text for text in texts(Config.fromfile(file).to_dict()) if ABSOLUTE.match(text)] == []


def test_tables_here_are_complete() -> None:
    leaves = {
        name: {f.stem for f in LEAVES if f.parent.name == name}
        for name in ('eoid', 'vg_law', 'referformer')
    }
    assert leaves['eoid'] == set(HELD_OUT)
    assert {name for name in leaves['vg_law'] if not name.startswith('toy')} == set(REFERRING)
    assert {name for name in leaves['referformer'] if not name.startswith('toy')} == set(VIDEO)


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


@pytest.mark.parametrize('name', REFERRING)
def test_referring_config_reads_the_dataset_that_it_names(name: str) -> None:
    config = Config.fromfile(ROOT / f'configs/vg_law/{name}.py')
    *dataset, val_split, test_split = REFERRING[name]
    for loader, split in (
        (config.train_dataloader, 'train'),
        (config.val_dataloader, val_split),
        (config.test_dataloader, test_split),
    ):
        found = loader.dataset
        assert [found.name, found.split_by, found.split] == [*dataset, split]
        assert found.get('test_mode', False) == (split != 'train')
        # masks are read where the model learns them
        assert found.pipeline[0].get('with_mask', True) == config.model.with_mask
    # the variables that a reader sees and --cfg-options changes
    assert [config.name, config.split_by, config.val_split, config.test_split] == [*REFERRING[name]]


@pytest.mark.parametrize(
    ('name', 'epochs', 'drop', 'rate'), [('refcoco', 90, 60, 4e-4), ('refcoco_20e', 20, 10, 1e-4)]
)
def test_referring_recipe(name: str, epochs: int, drop: int, rate: float) -> None:
    """Both recipes take 256 sentences a step, and a tenth of the rate for what is pre-trained."""
    config = Config.fromfile(ROOT / f'configs/vg_law/{name}.py')
    assert config.train_cfg.max_epochs == epochs
    assert [s.milestones for s in config.param_scheduler] == [[drop]]
    wrapper = config.optim_wrapper
    assert (wrapper.optimizer.lr, wrapper.optimizer.weight_decay) == (rate, 1e-4)
    slower = wrapper.paramwise_cfg.custom_keys
    assert slower == {name: {'lr_mult': 0.1} for name in ('text_encoder', 'visual_encoder')}
    assert wrapper.clip_grad.max_norm == 0.15
    processes = int(header_of(ROOT / f'configs/vg_law/{name}.py')['command'].split()[-1])
    assert config.train_dataloader.batch_size * processes == 256


def test_published_size(parameters: Any) -> None:
    """The parameter counts of the released EoID."""
    count = parameters(Config.fromfile(ROOT / 'configs/eoid/hico.py'))
    assert count == (41_676_432, 41_454_032)
    # without the interactive score: Linear(256, 2)
    baseline = parameters(Config.fromfile(ROOT / 'configs/eoid/cdn_hico_ua.py'))
    assert baseline == (41_676_432 - 514, 41_454_032 - 514)


@pytest.mark.parametrize(
    ('name', 'less'),
    [('refcoco', 0), ('refcoco_static', 1_153_728), ('refcoco_rec', 1_574_400)],
)
def test_published_size_of_vg_law(parameters: Any, name: str, less: int) -> None:
    """The released network without its unused pooler; the generator, the mask head."""
    total = 155_306_820 - less
    assert parameters(Config.fromfile(ROOT / f'configs/vg_law/{name}.py')) == (total, total)


@pytest.mark.parametrize('name', VIDEO)
def test_published_size_of_referformer(parameters: Any, name: str) -> None:
    total, trained = parameters(Config.fromfile(ROOT / f'configs/referformer/{name}.py'))
    backbone = name.removesuffix('_scratch').split('_')[1]
    assert total == REFERFORMER[backbone]
    # of ResNets the stem and the first stage are frozen too
    frozen = 222_400 if backbone in ('r50', 'r101') else 0
    assert total - trained == frozen + (0 if name.startswith('pretrain') else ROBERTA)


# name -> epochs, drops, items a step, frames of a clip, weight decay, the file that it starts from
RECIPES = {
    'refytvos_r50': (6, [3, 5], 8, 5, 5e-4, 'pretrain_r50'),
    'refytvos_video-swin-t_scratch': (10, [6, 8], 8, 5, 5e-4, 'video-swin-t_init'),
    'joint_r101': (12, [8, 10], 32, 5, 5e-4, 'r101_init'),
    'a2d_video-swin-b': (6, [3, 5], 16, 5, 5e-4, 'pretrain_video-swin-b'),
    'a2d_video-swin-t_scratch': (12, [8, 10], 8, 6, 1e-4, 'video-swin-t_init'),
    'pretrain_swin-t': (12, [8, 10], 64, 1, 5e-4, 'swin-t_init'),
}


@pytest.mark.parametrize('name', RECIPES)
def test_recipe_of_referformer(name: str) -> None:
    epochs, drops, batch, num_frames, decay, start = RECIPES[name]
    file = ROOT / f'configs/referformer/{name}.py'
    config = Config.fromfile(file)
    assert config.train_cfg.max_epochs == epochs
    assert epochs % config.train_cfg.val_interval == 0
    assert [s.milestones for s in config.param_scheduler] == [drops]
    assert config.load_from == f'ckpt/referformer_{start}.safetensors'
    assert config.auto_scale_lr.base_batch_size == batch
    *_, processes = header_of(file)['command'].split()
    nodes = 4 if 'NNODES=4' in header_of(file)['command'] else 1
    assert config.train_dataloader.batch_size * int(processes) * nodes == batch
    for dataset in datasets_of(config.train_dataloader.dataset):
        makers = [s.num_frames for s in dataset.pipeline if s.type == 'ImageToClip']
        assert dataset.get('num_frames', *makers or [1]) == num_frames
    assert config.optim_wrapper.clip_grad.max_norm == 0.1
    model = meta_model(config.model.to_dict())
    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    group_of = {parameter: group for group in groups for parameter in group['params']}
    rates = {'backbone': 5e-5, 'text_encoder': 1e-5}
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group, part = group_of[parameter], parameter_name.split('.')[0]
            assert group['lr'] == pytest.approx(rates.get(part, 1e-4)), parameter_name
            assert group['weight_decay'] == decay


# mode of ReferFormer's prediction -> what takes it
MEASURES = {
    'video': 'RefYouTubeVOSSubmission',
    'windows': 'RefDAVIS17Submission',
    'frame': 'SentenceSegMetric',
}


@pytest.mark.parametrize('name', VIDEO)
def test_prediction_is_of_the_form_that_is_measured(name: str) -> None:
    config = Config.fromfile(ROOT / f'configs/referformer/{name}.py')
    mode = config.model.test_cfg.mode
    assert config.test_evaluator.type == MEASURES[mode]
    resize, pack = config.test_dataloader.dataset.pipeline[1:]
    assert (resize.sizes, resize.get('max_size')) == ([360], 640 if mode == 'frame' else None)
    assert pack.get('original_masks', False) == (mode == 'frame')
    if 'out_dir' in config.test_evaluator:
        # no two configs write into one folder
        assert Path(config.test_evaluator.out_dir).parts[1] == name
    if name.startswith(('a2d', 'jhmdb')):
        frames = 6 if name.endswith('scratch') else 5
        assert config.test_dataloader.dataset.num_frames == frames == config.num_frames


def test_model_index_imports_every_metafile() -> None:
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [f'{name_of(method)}/metafile.yml' for method in METHODS]


@pytest.mark.parametrize('method', METHODS, ids=name_of)
def test_metafile_config_header_and_readme_agree(method: Path) -> None:
    content = yaml.safe_load((method / 'metafile.yml').read_text())
    readme = (method / 'README.md').read_text()
    overview = (ROOT / 'README.md').read_text()
    collections = {entry['Name'] for entry in content['Collections']}
    for model in content['Models']:
        assert model['In Collection'] in collections
        results = [tuple(result['Metrics'].values()) for result in model.get('Results', [])]
        numbers = [number for result in results for number in result]
        reached = numbers_of(header_of(ROOT / model['Config'])['to reach'])
        # a re-run may stand behind them
        assert numbers == reached[: len(numbers)], model['Config']
        assert bool(numbers) == bool(reached), model['Config']
        assert set(numbers) <= set(numbers_of(readme)), model['Config']
        if not Path(model['Config']).stem.startswith('cdn'):
            assert set(results) <= rows_of(overview), model['Config']
