"""Time ReferFormer's forward pass against the released code: same weights, same clip, one process.

    python benchmarks/referformer.py PATH_OF_A_REFERFORMER_CHECKOUT [--backbone resnet50]
        [--frames 2] [--size 360 640] [--repeats 5] [--threads 1] [--profile]

From the normalised clip and token ids to the logits, boxes and mask logits of all decoder layers,
one clip, ``eval()``, float32, RoBERTa-base with random weights. On the CPU the released code takes
its own PyTorch fallback for deformable attention; ``tests/parity/make_referformer.py`` says what
else stands in for its requirements. Outputs are compared before any time is printed. Passes are
interleaved; peak memory is that of a process of its own. A ratio above 1 means that mmvl is faster.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import RobertaConfig, RobertaModel

PARITY = Path(__file__).parents[1] / 'tests' / 'parity'
sys.path.insert(0, str(PARITY))

from common import seeded  # noqa: E402
from make_referformer import (  # noqa: E402
    FIELDS,
    import_official,
    official_model,
    seed_weights,
)
from referformer_case import TEXT, tokens  # noqa: E402

from mmvl.registry import MODELS  # noqa: E402
from mmvl.video.referformer.convert import convert_released  # noqa: E402
from mmvl.video.structures import ClipDataSample  # noqa: E402

BASE = {
    'vocab_size': 50265, 'num_hidden_layers': 12, 'intermediate_size': 3072,
    'max_position_embeddings': 514,
}  # fmt: skip
# released name -> ours, and its channels
BACKBONES = {
    'resnet50': ({'type': 'FrozenResNet', 'out_indices': (0, 1, 2, 3)}, (256, 512, 1024, 2048)),
    'swin_t_p4w7': ({'type': 'mmdet.SwinTransformer'}, (96, 192, 384, 768)),
    'video_swin_t_p4w7': ({'type': 'VideoSwin'}, (96, 192, 384, 768)),
}
# a case of the parity tests with one sentence, of eight tokens
CASE = 'odd'
Step = Callable[[], list[Tensor]]


def build_theirs(checkout: Path, backbone: str) -> tuple[types.SimpleNamespace, nn.Module]:
    """The released code and its model, with the RoBERTa of its size."""
    official = import_official(checkout)
    official.referformer.RobertaModel = types.SimpleNamespace(
        from_pretrained=lambda name: RobertaModel(RobertaConfig(**{**TEXT, **BASE}))
    )
    model, _ = official_model(official, backbone)
    return official, model.eval()


def build_ours(backbone: str) -> nn.Module:
    """Ours, whose weights are random too."""
    config, channels = BACKBONES[backbone]
    text = {'type': 'RobertaText', 'vocab': '', **TEXT, **BASE}
    model = MODELS.build(
        {'type': 'ReferFormer', 'text_encoder': text, 'backbone': config, 'in_channels': channels}
    )
    ids, mask = tokens(CASE)
    # words play no part here, and a vocabulary is a download
    model.text_encoder.tokenize = lambda texts: (ids, mask.bool())
    return model.eval()


def our_step(model: nn.Module, clip: Tensor) -> Step:
    """A pass over a clip (T, 3, H, W): logits, boxes and masks of all layers."""
    sample = ClipDataSample(metainfo={'text': CASE, 'img_shape': tuple(clip.shape[-2:])})

    def step() -> list[Tensor]:
        found = model(clip[None], [sample])
        return [found.logits[..., None], found.boxes, found.masks]

    return step


def their_step(official: types.SimpleNamespace, model: nn.Module, clip: Tensor) -> Step:
    """The same of the released model."""
    targets = [{'size': torch.tensor(clip.shape[-2:])}]

    def step() -> list[Tensor]:
        samples = official.misc.nested_tensor_from_videos_list([clip], size_divisibility=1)
        out = model(samples, [f'{CASE}/0'], targets)
        layers = [*out['aux_outputs'], out]
        return [torch.stack([layer[field] for layer in layers]) for field in FIELDS]

    return step


def resident(key: str) -> int:
    """Memory of this process in KiB: 'VmRSS' now, 'VmHWM' at its peak."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def peak_above(step: Step) -> int:
    """Memory in KiB that a pass needs above what the process has (Linux)."""
    Path('/proc/self/clear_refs').write_text('5')
    before = resident('VmRSS')
    step()
    return resident('VmHWM') - before


def compare(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Print the largest differences, and refuse to go on where they are no rounding."""
    for name, a, b in zip(FIELDS, ours, theirs, strict=True):
        difference = (a - b).abs().max()
        print(f'{name}: largest difference {difference:.2e} of {b.abs().max():.3g}')
        assert difference <= 1e-3 * b.abs().max()


def interleave(steps: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Seconds of every pass, taken in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Print medians and the ratio with its spread."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f'{name}: {value:.2f} s')
    ratios = [b / a for a, b in zip(seconds['ours'], seconds['official'], strict=True)]
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f'ratio {middle:.2f} ({low:.2f} to {high:.2f}, {len(ratios)} pairs of passes)')
    return {**medians, 'ratio': middle, 'lowest': low, 'highest': high}


def main() -> None:
    """Compare, time, and measure memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkout', type=Path)
    parser.add_argument('--backbone', choices=list(BACKBONES), default='resnet50')
    parser.add_argument('--frames', type=int, default=2)
    parser.add_argument('--size', type=int, nargs=2, default=[360, 640], metavar=('H', 'W'))
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--profile', action='store_true', help='say where the time goes in each')
    parser.add_argument('--out', type=Path, help='write the figures as JSON')
    parser.add_argument('--memory-of', choices=['ours', 'official'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    clip = seeded('benchmark', (args.frames, 3, *args.size))
    if args.memory_of == 'ours':
        print(peak_above(our_step(build_ours(args.backbone), clip)))
        return
    official, theirs = build_theirs(args.checkout, args.backbone)
    if args.memory_of == 'official':
        print(peak_above(their_step(official, theirs, clip)))
        return
    seed_weights(theirs)
    ours = build_ours(args.backbone)
    ours.load_state_dict(convert_released(theirs.state_dict()))
    steps = {'ours': our_step(ours, clip), 'official': their_step(official, theirs, clip)}
    print(f'{args.backbone}, {args.frames} frames of {args.size}, {args.threads} threads')
    compare(*(step() for step in steps.values()))
    figures = report(interleave(steps, args.repeats))
    if args.profile:
        for name, step in steps.items():
            with torch.profiler.profile() as profile:
                step()
            print(name, profile.key_averages().table('self_cpu_time_total', row_limit=14))
    for name in steps:
        command = [sys.executable, __file__, *sys.argv[1:], '--memory-of', name]
        found = subprocess.check_output(command, text=True).split()[-1]
        figures[f'{name} MiB'] = int(found) / 1024
        print(f'{name}: {int(found) / 1024:.0f} MiB above the model')
    if args.out:
        args.out.write_text(json.dumps(figures, indent=2))


if __name__ == '__main__':
    main()
