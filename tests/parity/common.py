"""What golden files and their tests share: weights and inputs that grow from seeds."""

import zlib

import torch
from torch import Tensor


def seeded(name: str, shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> Tensor:
    """Normal float32 tensor that depends on its name, shape and seed alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(f'{name}/{seed}'.encode()))
    return torch.randn(shape, generator=generator) * scale


def seeded_weights(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Weights under released DETR-family names that keep activations lively.

    Plain random weights make all queries of a DETR answer alike, and every comparison of matchers
    or losses on them would be empty.
    """
    state = {}
    for name, shape in shapes.items():
        is_norm = 'norm' in name or '.bn' in name or 'downsample.1' in name
        if 'running_var' in name:
            state[name] = seeded(name, shape, seed).abs() + 0.5
        elif is_norm:
            offset = 1.0 if name.endswith('.weight') else 0.0
            state[name] = offset + seeded(name, shape, seed, 0.1)
        elif name.startswith('query_embed'):
            state[name] = seeded(name, shape, seed, 3.0)
        elif len(shape) == 1:
            state[name] = seeded(name, shape, seed, 0.1)
        else:
            fan_in = int(torch.tensor(shape[1:]).prod())
            # small residual branches: wide ones average the tokens until all are alike
            narrow = 'out_proj' in name or 'linear2' in name
            gain = 0.4 if narrow else 8.0 if 'verb' in name or 'is_embed' in name else 1.4
            state[name] = seeded(name, shape, seed, gain * fan_in**-0.5)
    return state


def eoid_case(
    seed: int, num_images: int = 2, num_queries: int = 24, num_layers: int = 3
) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """Predictions of all layers near random targets, so that every branch of EoID is taken.

    Returns:
        Predictions under the released names, (layers, images, queries, ...), and one dict of
        targets an image under the released names. Verbs 100 to 116 are unseen. Every third seed
        has an image without pairs, every fourth one with more potential pairs than free queries,
        every fifth one with an invisible object.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    targets = []
    for image in range(num_images):
        num_pairs = int(torch.randint(1, 12, (), generator=generator))
        if seed % 3 == 0 and image == 0:
            num_pairs = 0
        if seed % 4 == 0 and image == 1:
            num_pairs = num_queries + 6
        potential = uniform(num_pairs) < (0.9 if num_pairs > num_queries else 0.6)
        verbs = (uniform(num_pairs, 117) < 0.02).float()
        verbs[:, 100:] = 0
        verbs[potential] = 0
        centres = uniform(2, num_pairs, 2) * 0.6 + 0.2
        boxes = torch.cat((centres, uniform(2, num_pairs, 2) * 0.3 + 0.05), -1)
        if seed % 5 == 0 and num_pairs:
            boxes[1, 0] = 0
        corners = torch.cat((uniform(num_pairs, 2) * 40, uniform(num_pairs, 2) * 40 + 50), -1)
        seen_mask = torch.zeros(117, dtype=torch.int64)
        seen_mask[100:] = 1
        targets.append(
            {
                'obj_labels': torch.randint(0, 80, (num_pairs,), generator=generator),
                'verb_labels': verbs,
                'sub_boxes': boxes[0],
                'obj_boxes': boxes[1],
                'st': potential.long(),
                'is_mask': (uniform(num_pairs) < 0.8).long(),
                'union_boxes': corners,
                'seen_mask': seen_mask if seed % 2 else torch.ones(117, dtype=torch.int64),
            }
        )

    def near(field: str) -> Tensor:
        layers = []
        for target in targets:
            base = uniform(num_layers, num_queries, 4) * 0.5 + 0.2
            count = min(len(target[field]), num_queries - 4)
            noise = (uniform(num_layers, count, 4) - 0.5) * 0.08
            order = torch.randperm(num_queries, generator=generator)[:count]
            base[:, order] = (target[field][:count] + noise).clamp(0.01, 0.99)
            layers.append(base)
        return torch.stack(layers, 1)

    def normal(*shape: int) -> Tensor:
        return torch.randn((num_layers, num_images, num_queries, *shape), generator=generator)

    order_seed = generator.get_state()
    subjects = near('sub_boxes')
    generator.set_state(order_seed)  # the object of a query belongs to the subject of the query
    objects = near('obj_boxes')
    predictions = {
        'pred_obj_logits': normal(81) * 2,
        'pred_verb_logits': normal(117) * 2,
        'pred_sub_boxes': subjects,
        'pred_obj_boxes': objects,
        'pred_is_logits': normal(2) * 2,
    }
    return predictions, targets


def layer(predictions: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One layer of the predictions."""
    return {name: value[index] for name, value in predictions.items()}


def picture(seed: int, height: int = 96, width: int = 128) -> Tensor:
    """A smooth random image, (H, W, 3) uint8 RGB."""
    coarse = seeded('picture', (1, 3, 6, 8), seed)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode='bicubic')
    return ((fine[0].permute(1, 2, 0) * 60 + 128).clamp(0, 255)).byte()


class StubCLIP:
    """A stand-in for CLIP with the arithmetic of a linear probe on an 8x8 thumbnail."""

    input_size = 32
    logit_scale = torch.tensor(10.0)

    def encode_image(self, crops: Tensor) -> Tensor:
        """Features (N, 16) of (N, 3, 32, 32) preprocessed crops, not normalised."""
        thumbnails = torch.nn.functional.adaptive_avg_pool2d(crops, 8).flatten(1)
        return thumbnails @ seeded('stub', (192, 16))

    def encode_text(self, count: int = 600) -> Tensor:
        """Features (count, 16) of the phrases, not normalised."""
        return seeded('text', (count, 16))
