"""What the toy runs start from, as the real ones do from a detector: a backbone that knows things.

Every token on a thing learns to tell its shape, colour, size and box. It sees the training pictures
alone, so no held-out pair of colour and shape, and no sentence.

Letters in shapes: B pictures, G rows and columns of tokens, N things, C channels.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.ops import generalized_box_iou_loss
from tqdm import trange

from mmvl.engine.checkpoint import save_safetensors
from mmvl.engine.images import read_image
from mmvl.grounding.preprocessing import SquarePreprocessor
from mmvl.grounding.vg_law.backbone import AdaptiveViTDet
from mmvl.grounding.vg_law.heads import BoxHead
from mmvl.structures import cxcywh_to_xyxy

from .scenes import COLOURS, SHAPES, SIZES

BACKBONE: Final[dict[str, Any]] = {
    'image_size': 64,
    'patch_size': 8,
    'embed_dims': 96,
    'depth': 4,
    'num_heads': 4,
    'mlp_ratio': 2,
    'window': 4,
    'global_blocks': (1, 3),
    'drop_path_rate': 0.0,
    'pretrain_grid': 8,
}
"""Of the toy configs, which repeat it."""

ATTRIBUTES: Final[tuple[tuple[str, ...], ...]] = (SHAPES, tuple(COLOURS), tuple(SIZES))
MARGIN: Final = 0.25
"""How far outside of a box a token's centre may lie, as a share of the patch."""
BATCH: Final = 24


class Scenes(NamedTuple):
    """The training pictures.

    Attributes:
        images: (B, 3, S, S) uint8 RGB.
        labels: (B, 3, G, G) int64, number of shape, colour and size from 1 on; 0 is the ground.
        boxes: (B, G, G, 4) float32 xyxy in 0-1 of the thing at a token.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor

    def batch(self, index: Tensor, mirror: bool) -> 'Scenes':
        """Some of them, mirrored or not."""
        images, labels, boxes = (each[index] for each in self)
        if mirror:
            images, labels, boxes = images.flip(-1), labels.flip(-1), boxes.flip(2)
            x1, y1, x2, y2 = boxes.unbind(-1)
            boxes = torch.stack((1 - x2, y1, 1 - x1, y2), -1)
        return Scenes(images, labels, boxes)


def train_start(
    folder: str | Path, out: str | Path, seed: int = 0, iterations: int = 900, lr: float = 3e-3
) -> float:
    """Train backbone and box regression on the things of a toy world.

    Args:
        folder: of the world, see :func:`mmvl.grounding.toy.write_world`; 64 pixels.
        out: safetensors file with ``visual_encoder.*`` and ``box_head.mlp.*`` of ``VGLAW``.
        seed: decides the weights and the order.
        iterations: steps of 24 pictures.
        lr: highest learning rate.

    Returns:
        Share of the things' tokens in the last tenth of the steps whose shape is right.
    """
    scenes = read_scenes(Path(folder))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = AdaptiveViTDet(**BACKBONE)
        box_mlp = BoxHead(BACKBONE['embed_dims'], BACKBONE['embed_dims']).mlp
        widths = [len(each) + 1 for each in ATTRIBUTES]
        classifier = nn.Linear(BACKBONE['embed_dims'], sum(widths))
    normalise = SquarePreprocessor()
    parameters = [*backbone.parameters(), *box_mlp.parameters(), *classifier.parameters()]
    optimizer = AdamW(parameters, lr, weight_decay=0.01)
    schedule = OneCycleLR(optimizer, lr, total_steps=iterations)
    right = 0.0
    progress = trange(iterations, desc='toy start', mininterval=2)
    for step in progress:
        index = torch.randint(len(scenes.images), (BATCH,), generator=generator)
        batch = scenes.batch(index, bool(torch.rand((), generator=generator) < 0.5))
        images = (batch.images.float() - normalise.mean) / normalise.std
        tokens = backbone(images).permute(0, 2, 3, 1)
        on_thing = batch.labels[:, 0] > 0
        scores = classifier(tokens).split(widths, -1)
        loss = sum(
            F.cross_entropy(each.flatten(0, 2), batch.labels[:, i].flatten())
            for i, each in enumerate(scores)
        )
        boxes = cxcywh_to_xyxy(box_mlp(tokens[on_thing]).sigmoid())
        target = batch.boxes[on_thing]
        loss = loss + 5 * F.l1_loss(boxes, target)
        loss = loss + 0.5 * generalized_box_iou_loss(boxes, target, reduction='mean')
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            hit = (scores[0].argmax(-1) == batch.labels[:, 0])[on_thing].float().mean().item()
        if step >= iterations - max(1, iterations // 10):
            right += hit / max(1, iterations // 10)
        progress.set_postfix(refresh=False, loss=f'{loss.item():.2f}', shapes=f'{hit:.2f}')
    weights = {f'visual_encoder.{name}': each for name, each in backbone.state_dict().items()}
    weights |= {f'box_head.mlp.{name}': each for name, each in box_mlp.state_dict().items()}
    save_safetensors(weights, out)
    print_log(f'toy start: knows the shape of {right:.0%} of the tokens on things', 'current')
    return right


def read_scenes(folder: Path) -> Scenes:
    """Read the training pictures of a world and what is where in them."""
    content = json.loads((folder / 'instances.json').read_text())
    named = {each['id']: each['name'] for each in content['categories']}
    rows = [each for each in content['images'] if each['file_name'].startswith('toy_train')]
    things: dict[int, list[dict[str, Any]]] = {each['id']: [] for each in rows}
    for each in content['annotations']:
        things.get(each['image_id'], []).append(each)
    patch, side = BACKBONE['patch_size'], BACKBONE['image_size'] // BACKBONE['patch_size']
    centres = (torch.arange(side) + 0.5) * patch
    images = torch.zeros(len(rows), 3, *[BACKBONE['image_size']] * 2, dtype=torch.uint8)
    labels = torch.zeros(len(rows), len(ATTRIBUTES), side, side, dtype=torch.long)
    boxes = torch.zeros(len(rows), side, side, 4)
    for i, row in enumerate(rows):
        picture = read_image(str(folder / 'images' / row['file_name']))
        images[i] = torch.from_numpy(picture).permute(2, 0, 1)
        for thing in things[row['id']]:
            x, y, width, height = thing['bbox']
            box = torch.tensor([x, y, x + width, y + height])
            low, high = box[:2] - MARGIN * patch, box[2:] + MARGIN * patch
            inside = (centres[:, None] >= low.flip(0)) & (centres[:, None] < high.flip(0))
            here = inside[:, 0, None] & inside[None, :, 1]
            values = (named[thing['category_id']], thing['colour'], thing['size'])
            for k, (names, value) in enumerate(zip(ATTRIBUTES, values, strict=True)):
                labels[i, k][here] = 1 + names.index(value)
            boxes[i][here] = box / BACKBONE['image_size']
    return Scenes(images, labels, boxes)
