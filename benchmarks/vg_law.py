"""Time VG-LAW's forward pass against the same model written out, with the same weights.

    python benchmarks/vg_law.py [--batch 2] [--repeats 5] [--size 448]

The peer forms the weight W + P Phi Q of every sample and layer, computes the attention as softmax
of a matrix product with the relative positions added, and scores pixels on a map of 768 channels.
Outputs are compared before any time is printed. Passes are interleaved in one process; peak memory
is that of a process of its own. A ratio above 1 means that mmvl is faster.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from mmvl.grounding.vg_law import VGLAW, generator, heads
from mmvl.grounding.vg_law.backbone import RelativeAttention, relative_positions
from mmvl.structures import ReferringDataSample

CONFIG = Path(__file__).parents[1] / 'configs' / 'vg_law' / 'refcoco.py'
TEXTS = ('man in red on the left', 'the second bicycle from the right', 'dog', 'white plate')


def materialised(x: Tensor, qkv: nn.Linear, left: Tensor, core: Tensor, right: Tensor) -> Tensor:
    """(B, N, 3 C) through one weight a sample."""
    weight = qkv.weight + left @ core @ right
    return torch.einsum('bnc,boc->bno', x, weight) + qkv.bias


def windows(x: Tensor, size: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, size, size, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, channels)


def written_out(self: RelativeAttention, x: Tensor, window: int, adapted=None) -> Tensor:  # noqa: ANN001
    """Attention with its weights in memory; sizes that windows divide."""
    batch, height, width, channels = x.shape
    qkv = adapted(x.flatten(1, 2), self.qkv) if adapted else self.qkv(x.flatten(1, 2))
    qkv = qkv.view(batch, height, width, -1)
    side = window or height
    qkv = windows(qkv, side).flatten(1, 2)
    q, k, v = qkv.view(len(qkv), side**2, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    grid = q.unflatten(2, (side, side))
    down = torch.einsum('bnrcd,rkd->bnrck', grid, relative_positions(self.rel_pos_h, side))
    along = torch.einsum('bnrcd,ckd->bnrck', grid, relative_positions(self.rel_pos_w, side))
    bias = down[..., :, None] + along[..., None, :]
    out = (logits + bias.reshape(logits.shape)).softmax(-1) @ v
    out = out.transpose(1, 2).reshape(batch, height // side, width // side, side, side, channels)
    return self.proj(out.transpose(2, 3).reshape(batch, height, width, channels))


def full_map(self: heads.MaskHead, features: Tensor, sentence: Tensor) -> Tensor:
    """Pixel scores on the whole map."""
    return (self.up_sample(features) * sentence[:, :, None, None]).sum(1)


OURS = (generator.low_rank, RelativeAttention.forward, heads.MaskHead.forward)
PEER = (materialised, written_out, full_map)


def use(parts: tuple) -> None:
    """Switch all models of this process."""
    generator.low_rank, RelativeAttention.forward, heads.MaskHead.forward = parts


def build(size: int) -> VGLAW:
    """The published model with random weights, also in what is initialised to zero."""
    torch.manual_seed(0)
    config = Config.fromfile(CONFIG).model
    text = {k: v for k, v in config.text_encoder.items() if k != 'type'}
    model = VGLAW({**text, 'type': 'BertText'}, {**config.backbone, 'image_size': size}).eval()
    for each in model.weight_generator.proj:
        nn.init.normal_(each[-1].weight, std=0.02)
    for block in model.visual_encoder.blocks:
        nn.init.normal_(block.attn.rel_pos_h, std=0.02)
        nn.init.normal_(block.attn.rel_pos_w, std=0.02)
    # word pieces play no part here, and a vocabulary is a download
    ids = torch.randint(1000, 30000, (len(TEXTS), 12))
    model.text_encoder.tokenize = lambda texts: (ids[: len(texts)], torch.ones(len(texts), 12) > 0)
    return model


def inputs(batch: int, size: int) -> tuple[Tensor, list[ReferringDataSample]]:
    """Images and sentences."""
    samples = [ReferringDataSample(metainfo={'text': TEXTS[i % 4]}) for i in range(batch)]
    return torch.randn(batch, 3, size, size), samples


def run_once(model: VGLAW, data: tuple) -> tuple[Tensor, Tensor]:
    """One forward pass."""
    with torch.no_grad():
        return model(*data)


def resident(key: str) -> int:
    """Memory of this process in KiB: 'VmRSS' now, 'VmHWM' at its peak."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def main() -> None:
    """Compare, time, and measure memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--size', type=int, default=448)
    parser.add_argument('--memory-of', choices=['ours', 'peer'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    model, data = build(args.size), inputs(args.batch, args.size)
    if args.memory_of:
        use(OURS if args.memory_of == 'ours' else PEER)
        # forget the peak of building the model (Linux)
        Path('/proc/self/clear_refs').write_text('5')
        before = resident('VmRSS')
        run_once(model, data)
        print(resident('VmHWM') - before)
        return
    ours = run_once(model, data)
    use(PEER)
    peer = run_once(model, data)
    for name, a, b in zip(('box', 'mask logits'), ours, peer, strict=True):
        print(f'{name}: largest difference {(a - b).abs().max():.2e} of {b.abs().max():.3g}')
        assert F.mse_loss(a, b) < 1e-6
    seconds: dict[str, list[float]] = {'ours': [], 'peer': []}
    for _ in range(args.repeats):
        for name, parts in (('ours', OURS), ('peer', PEER)):
            use(parts)
            start = time.perf_counter()
            run_once(model, data)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f'{name}: {args.batch / statistics.median(values):.2f} images/s')
    ratios = [b / a for a, b in zip(seconds['ours'], seconds['peer'], strict=True)]
    print(f'ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})')
    command = [sys.executable, __file__, '--batch', str(args.batch), '--size', str(args.size)]
    for name in ('ours', 'peer'):
        found = subprocess.check_output([*command, '--memory-of', name], text=True)
        print(f'{name}: {int(found) / 1024:.0f} MiB above the model')


if __name__ == '__main__':
    main()
