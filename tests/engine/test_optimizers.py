"""Groups of parameters that are treated alike."""

import torch
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from mmvl.engine import GroupingOptimWrapperConstructor

CONFIG = {
    'type': 'OptimWrapper',
    'optimizer': {'type': 'AdamW', 'lr': 0.1, 'weight_decay': 0.2},
}
PARAMWISE = {'custom_keys': {'2': {'lr_mult': 0.5}}, 'norm_decay_mult': 0.0}


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def test_one_group_for_each_treatment_and_the_same_steps():
    ours, theirs = model(), model()
    wrapper = GroupingOptimWrapperConstructor(CONFIG, PARAMWISE)(ours)
    plain = DefaultOptimWrapperConstructor(CONFIG, PARAMWISE)(theirs)
    found = {
        (group['lr'], group['weight_decay']): sum(each.numel() for each in group['params'])
        for group in wrapper.optimizer.param_groups
    }
    assert found == {(0.1, 0.2): 3 * 4 + 4, (0.1, 0.0): 8, (0.05, 0.2): 4 * 2 + 2}
    assert len(plain.optimizer.param_groups) == 6
    for _ in range(3):
        for each, steps in ((ours, wrapper), (theirs, plain)):
            steps.update_params(each(torch.ones(5, 3)).square().sum())
    for each, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(each, other, rtol=0, atol=0)
    assert not torch.equal(next(ours.parameters()), next(model().parameters()))
