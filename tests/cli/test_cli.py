import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
import torch
from mmengine.config import Config

from mmvl.cli import main as cli
from mmvl.cli.config import apply_options, read_config
from mmvl.cli.errors import UsageError, describe, run_and_report
from mmvl.engine import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path) -> str:
    file = tmp_path / 'tiny_config.py'
    file.write_text(tiny.CONFIG)
    return str(file)


@pytest.fixture
def run(tmp_path, capfd):
    """Run a command in this process; give exit code and what it wrote to stderr."""

    def go(*words: str) -> tuple[int, str]:
        code = cli.main([str(word) for word in words])
        return code, capfd.readouterr().err

    return go


def test_help_is_instant_and_names_every_command():
    began = time.monotonic()
    code = (
        'import sys; from mmvl.cli.main import main\n'
        'try: main(["--help"])\n'
        'except SystemExit: pass\n'
        'assert not {"torch", "mmengine", "numpy"} & set(sys.modules), "heavy import"'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 2
    assert all(f'\n  {name} ' in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_help_of_each_command(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, '--help'])
    assert ended.value.code == 0
    assert f'mmvl {name}' in capsys.readouterr().out


def test_unknown_key_is_an_error_with_the_nearest(config):
    read = read_config(config)
    cases = {
        'optim_wraper.optimizer.lr': 'optim_wrapper.optimizer.lr',
        'optim_wrapper.optimiser.lr': 'optim_wrapper.optimizer.lr',
        'train_dataloader.dataset.lenght.x': 'train_dataloader.dataset.length.x',
        'batch_size': 'train_dataloader.batch_size',
    }
    for key, nearest in cases.items():
        with pytest.raises(UsageError, match='nearest key') as info:
            apply_options(read, {key: 1})
        assert f"'{nearest}'" in str(info.value)
        assert len(str(info.value).splitlines()) <= 3


def test_keys_that_have_a_place_are_set(config):
    read = read_config(
        config,
        {
            'optim_wrapper.optimizer.lr': 0.5,
            'optim_wrapper.clip_grad': None,
            'param_scheduler.0.end': 4,
            'resume': True,
            'compile': True,
            'env_cfg.dist_cfg.timeout': 60,
        },
    )
    assert read.optim_wrapper.optimizer.lr == 0.5
    assert read.optim_wrapper.clip_grad is None
    assert read.param_scheduler[0].end == 4
    assert read.resume is True
    assert read.env_cfg.dist_cfg.timeout == 60


def test_list_index_and_leaf_of_a_value(config):
    read = read_config(config)
    with pytest.raises(UsageError, match='is a list of 1'):
        apply_options(read, {'param_scheduler.3.end': 1})
    with pytest.raises(UsageError, match='is 3 and has no parts'):
        apply_options(read, {'train_cfg.max_epochs.x': 1})


def test_a_variable_is_changed_wherever_it_went(config):
    read = read_config(config, {'length': 6})
    assert read.train_dataloader.dataset.length == 6
    assert read.test_dataloader.dataset.length == 6
    different = Config({'length': 12, 'a': {'length': 5}, 'b': [{'length': 12}]})
    apply_options(different, {'length': 1})
    assert (different.a.length, different.b[0].length) == (5, 1)


def test_paths_below_a_folder_move_with_it():
    below = {'a': {'vocab': 'data/toy/vocab.txt', 'other': 'data/toys/x'}, 'b': ['data/toy/c/d']}
    read = Config({'data_root': 'data/toy/', 'x': {'data_root': 'data/toy/'}, **below})
    apply_options(read, {'data_root': '/disk/toy'})
    assert read.data_root == read.x.data_root == '/disk/toy'
    assert read.a.to_dict() == {'vocab': '/disk/toy/vocab.txt', 'other': 'data/toys/x'}
    assert read.b == ['/disk/toy/c/d']


def test_work_dir_defaults_to_the_name_of_the_config(config, monkeypatch, tmp_path):
    assert read_config(config).work_dir == 'work_dirs/tiny_config'
    assert read_config(config, None, 'elsewhere').work_dir == 'elsewhere'


def test_a_missing_config_names_the_nearest(tmp_path, monkeypatch, run):
    (tmp_path / 'configs' / 'eoid').mkdir(parents=True)
    (tmp_path / 'configs' / 'eoid' / 'hico.py').write_text('')
    monkeypatch.chdir(tmp_path)
    code, err = run('train', 'configs/eoid/hicco.py')
    assert code == 2
    assert "'configs/eoid/hicco.py' does not exist" in err
    assert 'configs/eoid/hico.py' in err
    assert 'Traceback' not in err


def test_train_resume_and_test(config, tmp_path, run):
    work = tmp_path / 'work'
    common = ['--work-dir', work, '--cfg-options']
    assert run('train', config, '--seed', '7', *common, 'train_cfg.max_epochs=1')[0] == 0
    first = load_checkpoint_file(work / 'epoch_1.pth')
    assert first['meta']['seed'] == 7
    assert run('train', config, '--resume', *common, 'train_cfg.max_epochs=2')[0] == 0
    assert load_checkpoint_file(work / 'epoch_2.pth')['meta']['iter'] == 8

    out = tmp_path / 'out' / 'predictions.json'
    assert run('test', config, work / 'epoch_2.pth', '--out', out, '--work-dir', work)[0] == 0
    rows = json.loads(out.read_text())
    assert [row['img_id'] for row in rows] == list(range(12))
    assert rows[0]['ori_shape'] == [3, 4]
    weights = load_checkpoint_file(work / 'epoch_2.pth')['state_dict']
    row = tiny.TinyDataset()[0]['inputs']
    expected = row @ weights['linear.weight'][0] + weights['linear.bias'][0]
    assert rows[0]['pred_pairs']['scores'][0] == pytest.approx(expected.item(), abs=1e-6)


def test_amp_on_a_cpu_trains(config, tmp_path, run):
    words = ['--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_epochs=1']
    assert run('train', config, '--amp', *words)[0] == 0
    saved = (tmp_path / 'tiny_config.py').read_text()
    wanted = 'AmpOptimWrapper' if torch.cuda.is_available() else 'BFloat16OptimWrapper'
    assert f"type='{wanted}'" in saved


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--auto-scale-lr'], 'for which batch size'),
        (['--resume', 'none.pth'], 'none.pth does not exist'),
        (['--cfg-options', 'optim_wraper.lr=1'], "has no 'optim_wraper'"),
        (['--cfg-options', 'model.type=TinyModle'], 'TinyModle'),
        (['--cfg-options', 'model.widht=3'], 'widht'),
        (['--cfg-options', 'train_dataloader.dataset.fail_at=4'], 'row 4 is broken'),
    ],
)
def test_mistakes_in_training(config, tmp_path, run, words, said):
    code, err = run('train', config, '--work-dir', tmp_path / 'w', *words)
    message = err[err.index('mmvl: ') :]
    assert code == 2
    assert said in message
    assert 'Traceback' not in message
    assert len(message.strip().splitlines()) <= 4


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--tta'], 'no tta_model'),
        (['--show-dir', 'x'], 'default_hooks.visualization'),
        (['--out', 'x.pkl'], "ends in '.json'"),
        (['--cfg-options', 'model.width=5'], 'linear.weight: file (1, 4), model (1, 5)'),
    ],
)
def test_mistakes_in_testing(config, tmp_path, run, words, said):
    model = tiny.TinyModel()
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'a.pth')
    code, err = run('test', config, tmp_path / 'a.pth', '--work-dir', tmp_path / 'w', *words)
    assert code == 2
    assert said in err[err.index('mmvl: ') :]


def test_a_missing_checkpoint_is_found_before_the_model_is_built(config, tmp_path, run):
    code, err = run(
        'test', config, 'none.pth', '--work-dir', tmp_path, '--cfg-options', 'model.type=X'
    )
    assert code == 2
    assert 'none.pth does not exist' in err


def test_debug_lets_the_error_through(config, tmp_path, monkeypatch):
    with pytest.raises(UsageError):
        cli.main(['train', config, '--auto-scale-lr', '--debug', '--work-dir', str(tmp_path)])
    monkeypatch.setenv('MMVL_DEBUG', '1')
    with pytest.raises(UsageError):
        cli.main(['train', config, '--auto-scale-lr', '--work-dir', str(tmp_path)])


def test_how_errors_are_worded():
    assert describe(KeyError('scores')) == "KeyError: the key 'scores' is missing"
    assert describe(ValueError('a\nb\nc\nd')) == 'a\nb\nc'
    assert describe(ValueError('a')) == 'ValueError: a'
    assert describe(FileNotFoundError(2, 'No such file', '/x/y')).startswith('/x/y does not exist')
    try:
        try:
            raise UsageError('the cause')
        except UsageError as cause:
            raise RuntimeError('the frame around it') from cause
    except RuntimeError as error:
        assert describe(error) == 'the cause'


def test_other_errors_keep_their_traceback():
    def fault():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_and_report(fault)


def test_env_as_json(capsys, tmp_path):
    assert cli.main(['env', '--json', '--data-root', str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {'versions', 'operators', 'devices', 'data'} == {row['group'] for row in rows}


def launch(*words: str, **variables: str) -> subprocess.CompletedProcess:
    env = {key: value for key, value in os.environ.items() if key not in ('PORT', 'MASTER_ADDR')}
    env.update(PYTHON=sys.executable, **variables)
    env['PYTHONPATH'] = str(ROOT / 'tests' / 'engine')
    return subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_dist_train_in_two_processes(config, tmp_path):
    done = launch('tools/dist_train.sh', config, '2', '--work-dir', str(tmp_path / 'w'))
    assert done.returncode == 0, done.stderr[-2000:]
    saved = load_checkpoint_file(tmp_path / 'w' / 'epoch_3.pth')
    assert saved['meta']['iter'] == 6, '12 rows, 3 a process, 2 processes, 3 epochs'


@pytest.mark.parametrize(
    ('variables', 'said'),
    [
        ({'NNODES': '2', 'NODE_RANK': '0'}, 'needs MASTER_ADDR'),
        ({'NNODES': '2', 'MASTER_ADDR': 'localhost'}, 'needs NODE_RANK'),
        ({'NNODES': '2', 'MASTER_ADDR': 'localhost', 'NODE_RANK': '2'}, 'does not go with'),
    ],
)
def test_dist_train_says_what_is_missing(variables, said):
    done = launch('tools/dist_train.sh', 'configs/x.py', '2', **variables)
    assert done.returncode == 2
    assert said in done.stderr


def test_dist_scripts_check_their_arguments():
    assert 'must be a number' in launch('tools/dist_train.sh', 'a.py', 'two').stderr
    assert 'usage' in launch('tools/dist_test.sh', 'a.py', 'b.pth').stderr


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['grounding', 'photo.jpg'], "'photo.jpg' is the only input"),
        (['grounding', 'photo.jpg', 'a dog', '--top-k', '3'], "'--top-k' is an option of hoi"),
        (['grounding', 'photo.jpg', 'a dog', '--score-threshold', '0'], "'--score-threshold'"),
        (['grounding', 'photo.jpg', 'a dog'], "config 'configs/vg_law/refcoco.py' does not exist"),
        (['hoi', 'photo.jpg'], "config 'configs/eoid/hico.py' does not exist"),
        (['hoi', 'photo.jpg', '--config', 'none.py'], "config 'none.py' does not exist"),
    ],
)
def test_mistakes_in_inference(tmp_path, monkeypatch, run, words, said):
    monkeypatch.chdir(tmp_path)
    code, err = run('infer', *words, '--weights', 'w.pth')
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) <= 3


@pytest.fixture
def released(tmp_path):
    """What a ViTDet and a BERT of two layers, of which one is wanted, are named at their origin."""
    layer = 'encoder.layer.{}.output.dense.weight'
    files = {
        'vitdet': {
            'backbone.net.blocks.0.attn.rel_pos_h': torch.arange(127.0)[:, None],
            'backbone.net.pos_embed': torch.full((1, 5, 2), 2.0),
            'roi_heads.x': torch.zeros(3),
        },
        'bert': {f'bert.{layer.format(i)}': torch.full((2, 2), float(i)) for i in (0, 6)},
    }
    for name, state in files.items():
        torch.save({'model': state}, tmp_path / f'{name}.pth')
    return tmp_path


def test_two_released_files_become_one_to_start_from(released, run):
    for name in ('vitdet', 'bert'):
        target = released / 'ckpt' / f'{name}.safetensors'
        assert run('convert', name, released / f'{name}.pth', target)[0] == 0
    parts = sorted((released / 'ckpt').iterdir())
    assert run('convert', 'join', *parts, released / 'init.safetensors')[0] == 0
    made = load_checkpoint_file(released / 'init.safetensors')
    assert made['meta'] == {'method': 'join', 'source': 'bert.safetensors, vitdet.safetensors'}
    state = made['state_dict']
    assert set(state) == {
        'text_encoder.bert.encoder.layer.0.output.dense.weight',
        'visual_encoder.blocks.0.attn.rel_pos_h',
        'visual_encoder.pos_embed',
    }
    # the middle 55 of 127
    assert state['visual_encoder.blocks.0.attn.rel_pos_h'][:, 0].tolist() == list(range(36, 91))
    assert (state['visual_encoder.pos_embed'] == 2).all()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['join', 'bert.pth', 'bert.pth', 'x.safetensors'], 'is in bert.pth and in bert.pth'),
        (['join', 'bert.pth', 'none.pth', 'x.safetensors'], 'none.pth does not exist'),
        (['bert', 'bert.pth', 'vitdet.pth', 'x.safetensors'], "convert bert' takes one file"),
        (['vitdet', 'bert.pth', 'x.safetensors'], 'is it a ViTDet?'),
        (['vg_law', 'bert.pth', 'x.safetensors'], 'is no key of a released VG-LAW'),
        (['detr', 'bert.pth', 'x.safetensors'], 'is no key of a released EoID or DETR'),
    ],
)
def test_mistakes_in_conversion(released, monkeypatch, run, words, said):
    monkeypatch.chdir(released)
    code, err = run('convert', *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) <= 3
    assert not (released / 'x.safetensors').exists()


def test_conversion_that_trusts_the_author(released, run):
    source, target = released / 'bert.pth', released / 'x.safetensors'
    content = {'model': torch.load(source)['model'], 'made_by': Path('host')}
    torch.save(content, source)
    code, err = run('convert', 'bert', source, target)
    assert code == 2 and 'which is code and not weights' in err
    assert run('convert', 'bert', source, target, '--trust-pickle')[0] == 0
    assert list(load_checkpoint_file(target)['state_dict']) == [
        'text_encoder.bert.encoder.layer.0.output.dense.weight'
    ]
