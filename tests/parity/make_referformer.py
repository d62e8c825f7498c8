"""Make ``data/referformer.pt``: what the released ReferFormer answers to ``referformer_case.py``.

    python tests/parity/make_referformer.py PATH_OF_A_REFERFORMER_CHECKOUT

The released code imports ``einops`` and ``timm``. What it wants beyond them is put in place for
the length of the run: its own PyTorch deformable attention where it compiles one, a RoBERTa of
seeded weights where it downloads one. None of the released code is kept.
"""

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import torch
import torchvision
from referformer_case import (
    BACKBONES,
    CASES,
    TEXT,
    clips,
    criterion_case,
    referformer_weights,
    thinned,
    tokens,
)
from torch import Tensor
from transformers import BatchEncoding, RobertaConfig, RobertaModel

COMMIT = '06fc218f5d8f04730f81471a15ed89ea7e4d30d8'
FIELDS = ('pred_logits', 'pred_boxes', 'pred_masks')


class TokenTable:
    """A tokenizer whose captions are names of cases: ``even/1`` is its second sentence."""

    def batch_encode_plus(self, captions: list[str], **_: Any) -> BatchEncoding:
        """Token ids and mask of the case that the captions name."""
        ids, mask = tokens(captions[0].partition('/')[0])
        return BatchEncoding({'input_ids': ids, 'attention_mask': mask})


def stub_requirements() -> None:
    """Stand in for the compiled attention, fvcore's initialisation and downloaded weights."""
    compiled = types.ModuleType('MultiScaleDeformableAttention')
    sys.modules['MultiScaleDeformableAttention'] = compiled
    initialisers = types.ModuleType('fvcore.nn.weight_init')
    initialisers.c2_xavier_fill = lambda module: None
    for name in ('fvcore', 'fvcore.nn'):
        sys.modules[name] = types.ModuleType(name)
    sys.modules['fvcore.nn'].weight_init = initialisers
    sys.modules['fvcore.nn.weight_init'] = initialisers
    resnet = torchvision.models.resnet50
    torchvision.models.resnet50 = lambda pretrained, **kwargs: resnet(weights=None, **kwargs)


def import_official(checkout: Path) -> types.SimpleNamespace:
    """Import the released modules, with the small RoBERTa of the cases."""
    stub_requirements()
    sys.path.insert(0, str(checkout))
    import opts
    from models import matcher, referformer
    from models.ops.functions import ms_deform_attn_func
    from models.ops.modules import ms_deform_attn
    from util import misc

    fallback = ms_deform_attn_func.ms_deform_attn_core_pytorch
    ms_deform_attn.MSDeformAttnFunction = types.SimpleNamespace(
        apply=lambda value, shapes, start, locations, weights, step: fallback(
            value, shapes, locations, weights
        )
    )
    referformer.RobertaTokenizerFast = types.SimpleNamespace(
        from_pretrained=lambda name: TokenTable()
    )
    referformer.RobertaModel = types.SimpleNamespace(
        from_pretrained=lambda name: RobertaModel(RobertaConfig(**TEXT))
    )
    return types.SimpleNamespace(opts=opts, referformer=referformer, matcher=matcher, misc=misc)


def options(official: types.SimpleNamespace, *flags: str) -> argparse.Namespace:
    """Options of the released scripts, plus flags."""
    parser = argparse.ArgumentParser(parents=[official.opts.get_args_parser()])
    return parser.parse_args(['--with_box_refine', '--masks', '--device', 'cpu', *flags])


def official_model(
    official: types.SimpleNamespace, backbone: str, *flags: str
) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The released model, with weights drawn from torch's generator, and its criterion."""
    args = options(official, '--backbone', backbone, *(flags or ('--binary',)))
    model, criterion, _ = official.referformer.build(args)
    return model, criterion


def seed_weights(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Fill the model from seeds and return the shapes of everything it would save."""
    saved = model.state_dict()
    shapes = {name: tuple(value.shape) for name, value in saved.items()}
    missing, unexpected = model.load_state_dict(referformer_weights(shapes), strict=False)
    assert not unexpected and all(name.endswith('relative_position_index') for name in missing)
    return shapes


def run_case(
    official: types.SimpleNamespace, model: torch.nn.Module, name: str
) -> list[dict[str, Tensor]]:
    """What each decoder layer answers to a case, with the whole mask maps."""
    case = CASES[name]
    samples = official.misc.nested_tensor_from_videos_list(
        clips(name), size_divisibility=case.divisor
    )
    targets: list[dict[str, Any]] = [{'size': torch.tensor(size)} for size in case.sizes]
    if case.annotated is not None:
        for target, position in zip(targets, case.annotated, strict=True):
            target['valid_indices'] = torch.tensor(position)
    captions = [f'{name}/{i}' for i in range(len(targets))]
    with torch.no_grad():
        out = model(samples, captions, targets)
    return [{field: layer[field] for field in FIELDS} for layer in (*out['aux_outputs'], out)]


def check_lively(layers: list[dict[str, Tensor]], label: str) -> None:
    """Refuse answers on which a comparison would prove nothing."""
    last = layers[-1]
    masks, boxes, logits = last['pred_masks'], last['pred_boxes'], last['pred_logits']
    spread = {
        'mask sd': masks.std(),
        'mask soft': (masks.abs() < 5).float().mean(),
        'mask sd over queries': masks.std(2).mean(),
        'box sd over queries': boxes.std(2).mean(),
        'logit sd over queries': logits.std(2).mean(),
        'mask sd over frames': masks.std(1).mean() if masks.shape[1] > 1 else torch.tensor(1.0),
        'boxes inside': ((boxes > 0.01) & (boxes < 0.99)).float().mean(),
    }
    print(label, ', '.join(f'{key} {float(value):.3f}' for key, value in spread.items()))
    assert spread['mask soft'] > 0.7 and spread['mask sd over queries'] > 0.1
    assert spread['box sd over queries'] > 0.01 and spread['logit sd over queries'] > 0.05
    assert spread['boxes inside'] > 0.7
    assert torch.isfinite(masks).all()


def model_outputs(official: types.SimpleNamespace, backbone: str) -> dict[str, Any]:
    """Shapes of a seeded model's state and its answers to the cases of the backbone."""
    model, _ = official_model(official, backbone)
    shapes = seed_weights(model.eval())
    cases = {}
    for name in BACKBONES[backbone]:
        layers = run_case(official, model, name)
        check_lively(layers, f'{backbone}/{name}')
        stacked = {field: torch.stack([layer[field] for layer in layers]) for field in FIELDS}
        masks = stacked.pop('pred_masks')
        cases[name] = {
            **stacked,
            'mask_shape': tuple(masks.shape),
            'mask_mean': masks.mean((-2, -1)),
            'pred_masks': thinned(masks).clone(),
        }
    return {'shapes': shapes, 'cases': cases}


def layered(predictions: dict[str, Tensor]) -> dict[str, Any]:
    """The predictions as the released model hands them to its criterion."""
    *aux, last = [{k: v[i] for k, v in predictions.items()} for i in range(4)]
    return {**last, 'aux_outputs': aux}


def matches_and_losses(official: types.SimpleNamespace) -> dict[str, Any]:
    """Chosen query of each layer and clip, and every loss term, for one class and for 65."""
    found = {}
    for num_classes, flags in ((1, ('--binary',)), (65, ('--dataset_file', 'ytvos'))):
        _, criterion = official_model(official, 'resnet50', *flags)
        assert criterion.num_classes == num_classes
        for seed in range(12):
            predictions, targets = criterion_case(seed, num_classes)
            outputs = layered(predictions)
            chosen = [
                [int(query) for query, _ in criterion.matcher(layer, targets)]
                for layer in (*outputs['aux_outputs'], outputs)
            ]
            losses = {name: float(value) for name, value in criterion(outputs, targets).items()}
            found[f'{num_classes}/{seed}'] = {
                'queries': torch.tensor(chosen),
                'losses': losses,
                'weights': {name: float(criterion.weight_dict[name]) for name in losses},
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkout', type=Path)
    official = import_official(parser.parse_args().checkout)
    golden = {
        'commit': COMMIT,
        'models': {backbone: model_outputs(official, backbone) for backbone in BACKBONES},
        'criterion': matches_and_losses(official),
    }
    target = Path(__file__).parent / 'data' / 'referformer.pt'
    target.parent.mkdir(exist_ok=True)
    torch.save(golden, target)
    print(f'{target}: {target.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
