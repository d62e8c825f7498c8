"""What the toy runs start from, as the real ones do from a detector: images that are understood.

Backbone, neck and depth net learn the depth and the class of every cell of the images, from what
the LiDAR hits in it. They see the training frames one by one: nothing is lifted, remembered or
compared with voxels, so every model of the comparison starts from the same knowledge.

Letters in shapes: F frames, N cameras, h x w cells of stride 16, H x W pixels.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm, trange

from mmvl.engine.checkpoint import save_safetensors
from mmvl.occupancy.alocc.cameras import Cameras
from mmvl.occupancy.alocc.depth_net import STRIDE
from mmvl.occupancy.datasets.classes import OCC3D
from mmvl.occupancy.preprocessing import OccupancyPreprocessor
from mmvl.registry import DATASETS, MODELS

from .world import GRID, VERSION

SIZE: Final = (64, 176)
DEPTH: Final = (1.0, 21.0, 0.5)
IMAGE_SIDE: Final[dict[str, dict[str, Any]]] = {
    'img_backbone': {
        'type': 'mmdet.ResNet',
        'depth': 18,
        'base_channels': 16,
        'stem_channels': 16,
        'out_indices': (2, 3),
        'norm_eval': False,
    },
    'img_neck': {'type': 'CustomFPN', 'in_channels': (64, 128), 'out_channels': 64},
    'depth_net': {
        'type': 'ALOccDepthNet',
        'in_channels': 64,
        'context_channels': 16,
        'depth': DEPTH,
        'image_size': SIZE,
        'channels': 64,
        'aspp_channels': 16,
        'stereo': False,
        'ray_bins': 0,
        'inter_pixel': False,
    },
}
"""Of the toy config, which repeats it, freezes the backbone and adds what lifts adaptively."""

BATCH: Final = 4


class Frames(NamedTuple):
    """The training frames.

    Attributes:
        images: (F, N, 3, H, W) uint8 RGB.
        cameras: of all of them.
        bins: (F, N, h, w) int64 depth bins, -1 where nothing was hit.
        classes: (F, N, h, w) int64, 255 likewise.
    """

    images: Tensor
    cameras: Cameras
    bins: Tensor
    classes: Tensor

    def batch(self, index: Tensor) -> 'Frames':
        """Some of them."""
        cameras = Cameras(*(each[index] for each in vars(self.cameras).values()))
        return Frames(self.images[index], cameras, self.bins[index], self.classes[index])


def train_start(
    folder: str | Path, out: str | Path, seed: int = 0, iterations: int = 400, lr: float = 4e-3
) -> float:
    """Train backbone, neck and depth net on the images of a toy world.

    Args:
        folder: of the world, see :func:`mmvl.occupancy.toy.write_world`.
        out: safetensors file with ``img_backbone.*``, ``img_neck.*`` and ``depth_net.*`` of
            ``ALOcc``.
        seed: decides the weights and the order.
        iterations: steps of four frames.
        lr: highest learning rate.

    Returns:
        Share of the cells in the last tenth of the steps whose depth is right to one bin.
    """
    near = []
    with torch.random.fork_rng(devices=[]):
        # weights, order and dropout
        torch.manual_seed(seed)
        side = _ImageSide()
        frames = read_frames(Path(folder), side.depth_net)
        optimizer = AdamW(side.parameters(), lr, weight_decay=0.01)
        schedule = OneCycleLR(optimizer, lr, total_steps=iterations)
        progress = trange(iterations, desc='toy start', mininterval=2)
        for _ in progress:
            loss, share = side(frames.batch(torch.randint(len(frames.images), (BATCH,))))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(side.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            near.append(share)
            progress.set_postfix(refresh=False, loss=f'{loss.item():.2f}', near=f'{share:.2f}')
    state = side.state_dict()
    save_safetensors({k: v for k, v in state.items() if k.split('.')[0] in IMAGE_SIDE}, out)
    known = sum(near[-max(1, iterations // 10) :]) / max(1, iterations // 10)
    print_log(f'toy start: knows the depth of {known:.0%} of the cells to one bin', 'current')
    return known


class _ImageSide(nn.Module):
    """What of ALOcc looks at images, and a classifier of its context."""

    def __init__(self) -> None:
        super().__init__()
        built = {name: MODELS.build(config) for name, config in IMAGE_SIDE.items()}
        self.img_backbone, self.img_neck, self.depth_net = built.values()
        self.normalise = OccupancyPreprocessor().normalise
        self.classifier = nn.Linear(IMAGE_SIDE['depth_net']['context_channels'], len(OCC3D))

    def forward(self, frames: Frames) -> tuple[Tensor, float]:
        """Give the loss, and the share of the cells whose depth is right to one bin."""
        images = self.normalise(frames.images)
        maps = self.img_backbone(images.flatten(0, 1))
        features = self.img_neck(maps).unflatten(0, images.shape[:2])
        found = self.depth_net(features, frames.cameras)
        scores = self.classifier(found.context.movedim(2, -1))
        loss = self.depth_net.loss(found.depth, frames.bins) + F.cross_entropy(
            scores.flatten(0, -2), frames.classes.flatten(), ignore_index=255
        )
        apart = (found.depth.argmax(2) - frames.bins).abs()
        return loss, (apart <= 1)[frames.bins >= 0].float().mean().item()


def read_frames(folder: Path, depth_net: Any) -> Frames:
    """Read all training frames of a world."""
    near, far, _ = DEPTH
    dataset = DATASETS.build(
        {
            'type': 'NuScenesOccupancyDataset',
            'data_root': str(folder),
            'ann_file': 'toy_infos_train.pkl',
            'labels': 'occ3d',
            'lidar_seg_root': str(folder / 'lidar_seg'),
            'grid': GRID,
            'version': VERSION,
            'pipeline': [
                {'type': 'LoadSurroundImages', 'size': SIZE},
                {'type': 'LoadLiDARDepth', 'near': near, 'far': far, 'stride': STRIDE},
                {'type': 'PackOccupancy'},
            ],
        }
    )
    rows = [dataset[i] for i in tqdm(range(len(dataset)), 'frames', mininterval=2)]
    samples = [row['data_samples'] for row in rows]
    return Frames(
        torch.stack([row['inputs']['images'] for row in rows]),
        Cameras.from_samples(samples, torch.device('cpu')),
        depth_net.depth_bins(torch.stack([sample.depth_map for sample in samples])),
        torch.stack([sample.image_semantics for sample in samples]),
    )
