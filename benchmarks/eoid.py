"""Time EoID against the released code: same weights, same inputs, same process, interleaved.

    python benchmarks/eoid.py PATH_OF_AN_EOID_CHECKOUT [--repeats 10] [--size 800 1066]

Inference runs from the normalised tensor to the raw outputs of the model, batch 1, ``eval()``,
float32. A training step runs from the normalised tensor through matching, all losses (the teacher
is a stub that costs nothing in either) and backward to the optimiser's step, batch 1. Outputs and
losses are compared before any time is printed. A ratio above 1 means that mmvl is faster.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

PARITY = Path(__file__).parents[1] / 'tests' / 'parity'
sys.path.insert(0, str(PARITY))

from common import seeded  # noqa: E402
from make_eoid import OPTIONS, import_official, official_criterion, official_model  # noqa: E402

from mmvl.hoi.eoid.convert import convert_eoid  # noqa: E402
from mmvl.hoi.structures import HOIDataSample, HOIPairs  # noqa: E402
from mmvl.registry import MODELS  # noqa: E402

Step = Callable[[], float]


def build_models(checkout: Path) -> tuple[torch.nn.Module, Callable, torch.nn.Module]:
    """The released model with its criterion, and ours, with the same weights."""
    args = argparse.Namespace(**OPTIONS)
    official = import_official(checkout)
    torch.manual_seed(0)
    theirs = official_model(official, args)
    ours = MODELS.build({'type': 'EoID', 'backbone': {'type': 'FrozenResNet'}})
    ours.load_state_dict(convert_eoid(theirs.state_dict()))
    clip = torch.nn.Module()
    clip.encode_image = lambda crops: crops.flatten(1)[:, :8]
    clip.logit_scale = torch.tensor(1.0)
    criterion = official_criterion(
        official,
        args,
        clip,
        lambda region: torch.ones(3, 2, 2),
        torch.ones(600, 8),
        num_queries=64,
    )
    return theirs, criterion, ours


def targets(size: list[int]) -> tuple[list[dict], HOIDataSample]:
    """One annotated image in both forms: four pairs, two of them without a seen verb."""
    from PIL import Image

    boxes = torch.tensor([[0.3, 0.5, 0.2, 0.6], [0.6, 0.5, 0.3, 0.3]])
    verbs = torch.zeros(4, 117)
    verbs[0, 3] = verbs[1, 76] = 1
    theirs = {
        'obj_labels': torch.tensor([0, 17, 1, 0]),
        'verb_labels': verbs,
        'sub_boxes': boxes[[0, 1, 0, 1]],
        'obj_boxes': boxes[[1, 1, 0, 0]],
        'st': torch.tensor([0, 0, 1, 1]),
        'is_mask': torch.ones(4, dtype=torch.int64),
        'union_boxes': torch.tensor([[10.0, 10.0, 90.0, 90.0]]).repeat(4, 1),
        'seen_mask': torch.zeros(117, dtype=torch.int64),
        'img_or': Image.new('RGB', (100, 100)),
    }
    pairs = HOIPairs(metainfo={'distillable_verbs': torch.zeros(117, dtype=torch.bool)})
    pairs.set_data(
        {
            'object_labels': theirs['obj_labels'],
            'verb_labels': verbs,
            'subject_boxes': theirs['sub_boxes'],
            'object_boxes': theirs['obj_boxes'],
            'potential': theirs['st'].bool(),
            'interactive': theirs['is_mask'].bool(),
            'union_boxes': theirs['union_boxes'],
        }
    )
    sample = HOIDataSample(metainfo={'img_shape': tuple(size), 'file_name': 'benchmark'})
    sample.gt_pairs = pairs
    return [theirs], sample


def interleave(first: Step, second: Step, repeats: int, warmup: int = 2) -> dict[str, list[float]]:
    """Run two steps in turn; their results must agree to 1e-3."""
    seconds: dict[str, list[float]] = {'official': [], 'mmvl': []}
    for repeat in range(warmup + repeats):
        values = []
        for name, step in (('official', first), ('mmvl', second)):
            start = time.perf_counter()
            values.append(step())
            if repeat >= warmup:
                seconds[name].append(time.perf_counter() - start)
        if repeat == 0 and not abs(values[0] - values[1]) <= 1e-3 * max(abs(values[0]), 1):
            raise SystemExit(f'the two do not agree: {values[0]} and {values[1]}')
    return seconds


def report(name: str, seconds: dict[str, list[float]]) -> dict[str, float]:
    """Print medians and the median ratio with its quartiles."""
    ratio = np.array(seconds['official']) / np.array(seconds['mmvl'])
    low, middle, high = np.percentile(ratio, [25, 50, 75])
    medians = {key: float(np.median(value)) for key, value in seconds.items()}
    print(
        f'{name}: official {medians["official"]:.3f} s, mmvl {medians["mmvl"]:.3f} s, '
        f'ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f}, {len(ratio)} pairs of runs)'
    )
    return {**medians, 'ratio': float(middle), 'q1': float(low), 'q3': float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('checkout', type=Path)
    parser.add_argument('--repeats', type=int, default=10)
    parser.add_argument('--size', type=int, nargs=2, default=[800, 1066], metavar=('H', 'W'))
    parser.add_argument('--out', type=Path, help='write the figures as JSON')
    args = parser.parse_args()
    theirs, criterion, ours = build_models(args.checkout)
    image = seeded('benchmark', (1, 3, *args.size))
    annotation, sample = targets(args.size)

    theirs.eval(), ours.eval()
    with torch.inference_mode():
        inference = interleave(
            lambda: theirs(list(image))['pred_verb_logits'].mean().item(),
            lambda: ours(image).verb_logits[-1].mean().item(),
            args.repeats,
        )

    # without dropout the two losses can be compared
    for module in [*theirs.modules(), *ours.modules()]:
        if hasattr(module, 'dropout') and isinstance(module.dropout, float):
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    theirs.train(), ours.train()
    optimisers = [torch.optim.AdamW(m.parameters(), lr=0.0) for m in (theirs, ours)]

    def official_step() -> float:
        losses = criterion(theirs(list(image)), annotation)
        scale = ours.criterion.weights
        total = sum(value * scale.get(name.rstrip('_01'), 0.0) for name, value in losses.items())
        return _step(total, theirs, optimisers[0])

    def our_step() -> float:
        return _step(sum(ours(image, [sample], mode='loss').values()), ours, optimisers[1])

    training = interleave(official_step, our_step, args.repeats)
    figures = {
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'inference': report('inference', inference),
        'training step': report('training step', training),
    }
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))


def _step(loss: torch.Tensor, model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimiser.step()
    return loss.item()


if __name__ == '__main__':
    main()
