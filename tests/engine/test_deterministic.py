"""Training under --deterministic: the same bits twice, and operators that refuse are named."""

import re
from pathlib import Path

import pytest
import tiny
import torch

from mmvl.cli.main import main
from mmvl.engine import load_checkpoint_file
from mmvl.engine.deterministic import NotDeterministicError, deterministic_operators
from mmvl.hoi.toy import write_world
from mmvl.registry import MODELS

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def restore():
    yield
    torch.use_deterministic_algorithms(False)


@MODELS.register_module(force=True)
class PuttingModel(tiny.TinyModel):
    """Uses an operator that refuses on a CPU too."""

    def forward(self, inputs, index, mode='loss'):
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
        return super().forward(inputs, index, mode)


def test_a_published_model_trains_to_the_same_bits_twice(tmp_path):
    write_world(tmp_path / 'world', seed=0, num_train=16, num_test=2)
    config = str(ROOT / 'configs' / 'eoid' / 'toy_detector.py')
    states = []
    for name in ('one', 'two'):
        command = ['train', config, '--deterministic', '--work-dir', str(tmp_path / name)]
        options = [f'data_root={tmp_path}/world/', 'train_cfg.max_epochs=1', 'log_level=ERROR']
        assert main([*command, '--cfg-options', *options, 'val_cfg=None', 'val_dataloader=None',
                     'val_evaluator=None']) == 0  # fmt: skip
        states.append(load_checkpoint_file(tmp_path / name / 'epoch_1.pth')['state_dict'])
    assert len(states[0]) > 100
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_an_operator_that_refuses_is_named(tmp_path, capsys):
    (tmp_path / 'config.py').write_text(tiny.CONFIG.replace("'TinyModel'", "'PuttingModel'"))
    command = ['train', str(tmp_path / 'config.py'), '--work-dir', str(tmp_path / 'run')]
    assert main([*command, '--deterministic']) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert "the operator 'put_' has no form that repeats bit by bit" in said[0]
    assert len(said) <= 3
    torch.use_deterministic_algorithms(False)
    assert main(command) == 0


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match='^shapes') as info, deterministic_operators():
        raise RuntimeError('shapes differ')
    assert not isinstance(info.value, NotDeterministicError)


def test_the_list_in_the_docs_is_the_one_of_torch():
    """Every operator that the page lists as refusing is one of the installed PyTorch's list."""
    page = (ROOT / 'docs' / 'train_test.md').read_text()
    section = page.split('## The same bits again')[1].split('\n## ')[0]
    listed = re.findall(r'^\| `(\w+)`', section, flags=re.MULTILINE)
    text = torch.use_deterministic_algorithms.__doc__
    known = re.search(r'will throw a\s+\S+ when ``mode=True``.*?In addition', text, re.DOTALL)[0]
    assert len(listed) >= 10
    assert [name for name in listed if not re.search(rf'\b{name}\b', known)] == []
