"""Cases on which ALOcc's losses, training steps and post-processing are compared.

Letters in shapes: B samples, K classes, N cameras, X Y Z voxels, h x w image cells.
"""

from dataclasses import dataclass
from math import cos, sin

import torch
from common import seeded
from torch import Tensor

GRID = (12, 10, 12)
"""Y, X, Z."""
CELLS = (3, 4, 6)
"""N, h, w."""
CHANNELS, CONTEXT_CHANNELS = 48, 32
NUM_POINTS, NUM_IMAGE_POINTS = 200, 20
FLOW_CONFIG = 'aloccflow_3d_r50_256x704_bevdet_preatrain_16f'
VOXEL_CONFIG = 'alocc_3d_r50_256x704_bevdet_preatrain_16f'
HISTORY_CHANNELS, HISTORY_FRAMES = 8, 16
# of the history; the flow head has its own
VOXEL, LOWER = 0.4, (-2.0, -2.4, -1.0)


@dataclass(frozen=True)
class Head:
    """A released head.

    Attributes:
        config: its name.
        classes: K.
        rates: share of the labels in the cost volume, frame by frame; none without flow.
    """

    config: str
    classes: int
    rates: tuple[float, ...] = ()


HEADS = {'voxel': Head(VOXEL_CONFIG, 18), 'flow': Head(FLOW_CONFIG, 17, (1.0, 0.7, 0.0))}
FRAMES = 3
# whether the past is kept, frame by frame
ENABLED = (False, False, True, True)


def labels(name: str, classes: int, shape: tuple[int, ...]) -> Tensor:
    """Random labels with rare, absent and missing classes, int64."""
    scores = seeded(name, (*shape, classes))
    # common ones at the end
    scores += torch.linspace(0, 2, classes)
    scores[..., 2] = -10
    found = scores.argmax(-1)
    found[seeded(f'{name}/seen', shape) < -0.5] = 255
    return found


def head_frame(kind: str, frame: int) -> dict[str, Tensor]:
    """What a head is given in training: B = 2, all in the order (Y, X, Z) of volumes.

    Returns:
        ``volume`` (B, C, Y, X, Z), ``context`` (B, C', N, h, w), ``labels`` (B, Y, X, Z),
        ``cells`` (B, N, h, w), ``flow`` (B, Y, X, Z, 2) m/s along y and x.
    """
    classes = HEADS[kind].classes
    name = f'{kind}/{frame}'
    # the bird's-eye views of two frames resemble each other
    shape = (2, CHANNELS, *GRID)
    flow = seeded(f'{name}/flow', (2, *GRID, 2), scale=4.0)
    flow[seeded(f'{name}/rests', (2, *GRID)) < 0] = 0
    return {
        'volume': seeded(f'{kind}/scene', shape, scale=0.5) + seeded(f'{name}/own', shape, 0, 0.2),
        'context': seeded(f'{name}/context', (2, CONTEXT_CHANNELS, *CELLS)),
        'labels': labels(f'{name}/labels', classes, (2, *GRID)),
        'cells': labels(f'{name}/cells', 17, (2, *CELLS)),
        'flow': flow,
    }


def pose(slot: int, frame: int) -> Tensor:
    """Ego to global, (4, 4) float64: about a voxel a frame."""
    yaw = 0.006 * frame * (1 + slot)
    found = torch.eye(4, dtype=torch.float64)
    found[:2, :2] = torch.tensor([[cos(yaw), -sin(yaw)], [sin(yaw), cos(yaw)]])
    found[:3, 3] = torch.tensor([300.0 + 0.3 * frame, -200 - 0.5 * frame * slot, 0.1 * frame])
    return found


def starts(frame: int) -> list[bool]:
    """Which of the two sequences begin with a frame."""
    return [frame == 0, frame in (0, 2)]


def flips(frame: int) -> Tensor:
    """Augmentations of the ego frame (B, 3, 3), for the history."""
    signs = [[1.0, 1, 1], [-1, 1, 1], [1, -1, 1]]
    return torch.stack([torch.diag(torch.tensor(signs[(frame + slot) % 3])) for slot in range(2)])


def history_volume(frame: int) -> Tensor:
    """(B, C, Y, X, Z) of one frame, for the history."""
    return seeded(f'history/{frame}', (2, HISTORY_CHANNELS, *GRID))


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights under released names; norms near the identity."""
    state = {}
    for name, shape in shapes.items():
        owner, _, kind = name.rpartition('.')
        if kind == 'num_batches_tracked':
            state[name] = torch.tensor(0)
        elif f'{owner}.running_var' in shapes or 'norm' in owner:
            noise = seeded(name, tuple(shape), scale=0.1)
            state[name] = noise.abs() + 0.8 if kind == 'running_var' else noise
            if kind == 'weight':
                state[name] += 1
        else:
            fan_in = int(torch.tensor(shape[1:]).prod()) if len(shape) > 1 else 100
            state[name] = seeded(name, tuple(shape), scale=1.4 * fan_in**-0.5)
    return state
