"""What the toy runs start from, as the real ones do from Kinetics: a backbone that knows things.

Every token learns to tell the shape, the colour and the motion of the thing on it, from clips and,
but for the motion, from single frames. It sees the training videos alone, and no sentence.

Letters in shapes: V videos, T frames, h and w rows and columns of tokens at stride 4.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import trange

from mmvl.engine.checkpoint import save_safetensors
from mmvl.engine.images import read_image
from mmvl.layers import VideoSwin
from mmvl.video.datasets.masks import read_ids
from mmvl.video.preprocessing import ClipPreprocessor

from .scenes import COLOURS, MOTIONS, SHAPES, STILL

BACKBONE: Final[dict[str, Any]] = {
    'embed_dims': 32,
    'depths': (1, 2, 1, 1),
    'num_heads': (2, 4, 8, 8),
    'window': (5, 3, 8),
    'mlp_ratio': 2,
    'drop_path_rate': 0.0,
}
"""Of the toy config, which repeats it."""

ATTRIBUTES: Final[tuple[tuple[str, ...], ...]] = (
    tuple(SHAPES),
    tuple(COLOURS),
    (STILL, *MOTIONS),
)
STRIDE: Final = 4
BATCH: Final = 16
GROUND_WEIGHT: Final = 0.2
"""Of the tokens on no thing, which are many."""
TABLE_STD: Final = 1.0
TABLE_RATE: Final = 10.0
"""Motion is told by where in the windows is looked: the tables that say so start far from equal,
and learn faster than the rest by this factor."""


class Videos(NamedTuple):
    """The training videos.

    Attributes:
        frames: (V, T, 3, H, W) uint8 RGB.
        labels: (V, T, 3, h, w) int64, number of shape, colour and motion from 1 on; 0 is the
            ground.
    """

    frames: Tensor
    labels: Tensor


def train_start(
    folder: str | Path, out: str | Path, seed: int = 0, iterations: int = 450, lr: float = 2e-3
) -> float:
    """Train the backbone on the things of a toy world.

    Args:
        folder: of the world, see :func:`mmvl.video.toy.write_world`.
        out: safetensors file with ``backbone.*`` of ``ReferFormer``.
        seed: decides the weights and the order.
        iterations: steps of 16 clips; every third is of single frames instead.
        lr: highest learning rate.

    Returns:
        Share of the tokens on things whose motion is right, in the last tenth of the steps.
    """
    videos = read_videos(Path(folder))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = _Probe()
    tables, others = probe.parameter_groups()
    groups: list[dict[str, Any]] = [{'params': tables, 'weight_decay': 0.0}, {'params': others}]
    optimizer = AdamW(groups, lr, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, [TABLE_RATE * lr, lr], total_steps=iterations)
    right = []
    progress = trange(iterations, desc='toy start', mininterval=2)
    for step in progress:
        index = torch.randint(len(videos.frames), (BATCH,), generator=generator)
        batch = Videos(*(each[index] for each in videos))
        single = step % 3 == 2
        if single:
            batch = Videos(*(each.flatten(0, 1)[:, None] for each in batch))
        loss, hits = probe(batch, with_motion=not single)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(probe.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not single:
            right.append(hits[-1])
            shown = ' '.join(f'{each:.2f}' for each in hits)
            progress.set_postfix(refresh=False, loss=f'{loss.item():.2f}', right=shown)
    state = probe.backbone.state_dict()
    save_safetensors({f'backbone.{name}': each for name, each in state.items()}, out)
    known = float(np.mean(right[-max(1, len(right) // 10) :]))
    print_log(f'toy start: knows the motion of {known:.0%} of the tokens on things', 'current')
    return known


class _Probe(nn.Module):
    """The backbone, and what reads all its maps together, token by token at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = VideoSwin(**BACKBONE)
        self.widths = [len(each) + 1 for each in ATTRIBUTES]
        dims = [BACKBONE['embed_dims'] * 2**level for level in range(4)]
        self.heads = nn.ModuleList(nn.Conv2d(each, sum(self.widths), 1) for each in dims)
        self.normalise = ClipPreprocessor()
        for table in self.parameter_groups()[0]:
            nn.init.normal_(table, std=TABLE_STD)

    def parameter_groups(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """Tables of relative positions, and everything else."""
        groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
        for name, parameter in self.named_parameters():
            groups[not name.endswith('bias_table')].append(parameter)
        return groups

    def forward(self, batch: Videos, with_motion: bool) -> tuple[Tensor, list[float]]:
        """Give the loss, and the share of the things' tokens that have each attribute right."""
        mean, std = (getattr(self.normalise, name) for name in ('mean', 'std'))
        frames = (batch.frames.float() - mean) / std
        labels = batch.labels.flatten(0, 1)
        size = labels.shape[-2:]
        pairs = zip(self.heads, self.backbone(frames), strict=True)
        logits = torch.stack(
            [F.interpolate(head(each), size, mode='bilinear') for head, each in pairs]
        ).sum(0)
        on_thing = labels[:, 0] > 0
        weight = torch.where(on_thing, 1.0, GROUND_WEIGHT)
        losses, hits = [], []
        for part, label in zip(logits.split(self.widths, 1), labels.unbind(1), strict=True):
            entropy = F.cross_entropy(part, label, reduction='none')
            losses.append((entropy * weight).sum() / weight.sum())
            hits.append((part.argmax(1) == label)[on_thing].float().mean().item())
        return torch.stack(losses if with_motion else losses[:-1]).sum(), hits


def read_videos(folder: Path) -> Videos:
    """Read the training videos of a world and what is where in them."""
    content = json.loads((folder / 'train/meta.json').read_text())['videos']
    frames, labels = [], []
    for video, entry in content.items():
        # row 0 is the ground
        numbers = np.zeros((len(entry['objects']) + 1, len(ATTRIBUTES)), np.int64)
        for key, thing in entry['objects'].items():
            values = thing['category'], thing['colour'], thing['motion']
            numbers[int(key)] = [
                1 + names.index(value) for names, value in zip(ATTRIBUTES, values, strict=True)
            ]
        paths = sorted((folder / 'train/JPEGImages' / video).glob('*.jpg'))
        frames.append(np.stack([read_image(path) for path in paths]))
        masks = (folder / 'train/Annotations' / video / f'{path.stem}.png' for path in paths)
        ids = np.stack([read_ids(mask) for mask in masks])
        labels.append(numbers[ids[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]])
    return Videos(
        torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3),
        torch.from_numpy(np.stack(labels)).permute(0, 1, 4, 2, 3),
    )
