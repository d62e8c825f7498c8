"""F31 to F33: losses that are not finite, half precision, and what must not change a result."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from tiny import TinyModel

from mmvl.engine import load_checkpoint_file
from mmvl.engine.finite import NonFiniteLossError
from mmvl.hoi.structures import HOIDataSample
from mmvl.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
SAVING = {'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False}}


class Poison(Hook):
    """Put NaN into one sample of an iteration."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            data_batch['inputs'][0][0] = float('nan')


def test_f31_training_stops_and_the_checkpoint_before_stays(make_runner, tmp_path):
    runner = make_runner('run', custom_hooks=[dict(type=Poison, at=5)], **SAVING)
    with pytest.raises(NonFiniteLossError) as info:
        runner.train()
    said = str(info.value)
    assert said.startswith('loss not finite in iteration 6 on rank 0')
    assert 'First in the input of the model.' in said
    assert f'newest checkpoint: {tmp_path / "run" / "iter_4.pth"}' in said
    assert load_checkpoint_file(tmp_path / 'run' / 'iter_4.pth')['meta']['iter'] == 4


def test_f31_or_leaves_the_step_out_as_configured(make_runner):
    hooks = [dict(type=Poison, at=5), dict(type='FiniteLossHook', skip=1)]
    runner = make_runner('run', custom_hooks=hooks)
    runner.train()
    assert runner.iter == 12
    assert all(torch.isfinite(value).all() for value in runner.model.parameters())


@OPTIM_WRAPPERS.register_module(force=True)
class Float16(OptimWrapper):
    """float16 on the CPU, where the forward pass overflows as on a GPU."""

    def optim_context(self, model):
        return torch.autocast('cpu', dtype=torch.float16)


@MODELS.register_module(force=True)
class LargeModel(TinyModel):
    """Its linear layer leaves the range of float16 (65504), not that of bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.linear.weight.data.fill_(60_000)

    def forward(self, inputs, index, mode='loss'):
        if mode != 'loss':
            return super().forward(inputs, index, mode)
        return {'loss': self.linear(torch.stack(list(inputs)) + 10).float().abs().mean()}


@pytest.mark.parametrize('wrapper', ['Float16', 'BFloat16OptimWrapper'])
def test_f32_the_layer_that_overflows_is_named(make_runner, wrapper):
    runner = make_runner(**{'model': {'type': 'LargeModel', '_delete_': True}, 'val_cfg': None,
                            'val_dataloader': None, 'val_evaluator': None,
                            'optim_wrapper.type': wrapper})  # fmt: skip
    if wrapper == 'BFloat16OptimWrapper':
        runner.train()
        return
    with pytest.raises(NonFiniteLossError) as info:
        runner.train()
    assert "First in the output of 'linear'." in str(info.value)
    assert 'with --amp use bfloat16' in str(info.value)


@pytest.fixture(scope='module')
def detector():
    torch.manual_seed(0)
    model = Config.fromfile(CONFIGS / 'eoid' / 'toy_detector.py').model
    return MODELS.build(model).eval()


def predict(model, images):
    shape = tuple(images[0].shape[1:])
    samples = [HOIDataSample(metainfo={'img_shape': shape, 'ori_shape': shape}) for _ in images]
    with torch.no_grad():
        found = model.test_step({'inputs': images, 'data_samples': samples})
    return [sample.pred_pairs for sample in found]


def images(count):
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (3, 96, 128), generator=generator).byte() for _ in range(count)]


def test_f33_a_batch_of_one_equals_a_batch_of_many(detector):
    together = predict(detector, images(3))
    for image, many in zip(images(3), together, strict=True):
        (one,) = predict(detector, [image])
        torch.testing.assert_close(one.scores, many.scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(one.subject_boxes, many.subject_boxes, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize('backend', ['aot_eager', pytest.param('inductor', marks=pytest.mark.slow)])
def test_f33_compiled_equals_eager(detector, backend):
    eager = predict(detector, images(1))[0]
    detector.compile(backend=backend)
    try:
        compiled = predict(detector, images(1))[0]
    finally:
        detector._compiled_call_impl = None
        torch.compiler.reset()
    torch.testing.assert_close(compiled.scores, eager.scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(compiled.object_boxes, eager.object_boxes, rtol=1e-4, atol=1e-2)


@pytest.mark.gpu
def test_f33_a_gpu_equals_the_cpu(detector):
    cpu = predict(detector, images(2))
    gpu = predict(detector.cuda(), [image.cuda() for image in images(2)])
    detector.cpu()
    for one, other in zip(cpu, gpu, strict=True):
        torch.testing.assert_close(one.scores, other.scores.cpu(), rtol=1e-3, atol=1e-5)
