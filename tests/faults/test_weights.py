"""F06 and F07: weights that do not fit, told through the command line."""

import pytest
import tiny
import torch

import mmvl.hoi  # noqa: F401  its methods know their checkpoints
from mmvl.cli.main import main


@pytest.fixture
def measure(tmp_path, capsys):
    """Run `mmvl test` on a state dictionary; the exit code and the lines of the message."""
    (tmp_path / 'config.py').write_text(tiny.CONFIG)

    def run(state):
        torch.save({'state_dict': state}, tmp_path / 'weights.pth')
        config, weights = (str(tmp_path / name) for name in ('config.py', 'weights.pth'))
        code = main(['test', config, weights, '--work-dir', str(tmp_path / 'run')])
        return code, capsys.readouterr().err.strip().splitlines()

    return run


def test_f06_names_and_shapes_that_do_not_fit_are_listed(measure):
    state = tiny.TinyModel().state_dict()
    many = {f'extra.{i}': torch.zeros(1) for i in range(12)}
    code, said = measure({**state, **many})
    assert code == 2
    assert '2 names match (100%)' in said[0]
    assert said[1] == '12 unknown to the model:'
    assert said[2:13] == [*(f'    extra.{i}' for i in range(10)), '    ... and 2 more']
    code, said = measure({**state, 'linear.weight': torch.zeros(1, 5)})
    assert code == 2
    assert '    linear.weight: file (1, 5), model (1, 4)' in said
    # what fits is loaded without a word
    assert measure(state)[0] == 0


@pytest.mark.parametrize(
    ('names', 'method'),
    [
        ('backbone encoder pair_decoder interaction_decoder verb_head input_proj', 'EoID'),
        (
            'backbone.0.body transformer.encoder transformer.decoder verb_class_embed is_embed '
            'sub_bbox_embed obj_bbox_embed',
            "EoID as released, for 'mmvl convert eoid'",
        ),
        (
            'backbone.0.body transformer.encoder transformer.decoder class_embed bbox_embed',
            "DETR as released, for 'mmvl convert detr'",
        ),
    ],
)
def test_f07_the_method_of_a_foreign_checkpoint_is_named(measure, names, method):
    own = [f'{part}.{i}.weight' for part in names.split() for i in range(3)]
    code, said = measure({name: torch.zeros(1) for name in [*own, 'odd']})
    assert code == 2
    share = round(100 * len(own) / (len(own) + 1))
    assert f'this looks like a checkpoint of {method} ({share}% of the names)' in said[0]


def test_f07_or_not_if_nobody_knows_it(measure):
    code, said = measure({'a.weight': torch.zeros(1)})
    assert code == 2
    assert 'a checkpoint of another method or another size of model' in said[0]
