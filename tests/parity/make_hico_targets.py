"""Write ``data/hico_targets.npz``: training targets and transformed pixels of the official EoID.

    python tests/parity/make_hico_targets.py PATH/TO/EoID

The path is a checkout of github.com/mrwu-mac/EoID at commit
6bc11d5821fd9a6be2f47e571eb4d57f81284095. The annotations are random, with what goes wrong in real
ones: shared and repeated boxes, self pairs, repeated labels, more than 64 boxes, empty images,
boxes without area, indices without a box.
"""

import importlib
import json
import sys
import tempfile
import types
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

COMMIT = '6bc11d5821fd9a6be2f47e571eb4d57f81284095'
IMAGES = 80
SETTINGS = {
    'plain': ('hico', None),
    'ua_base': ('hico_ua_base', None),
    'uc_base': ('hico_uc_base', 'uc1'),
    'ua_v1': ('hico_ua_st_v1', None),
    'ua_v2': ('hico_ua_st_v2', None),
    'uc0': ('hico_uc_st', 'uc0'),
    'uc3': ('hico_uc_st', 'uc3'),
    'nf_uc': ('hico_uc_st', 'non_rare_first'),
    'rare': ('hico_uc_st', 'rare_first'),
}
FIELDS = ('sub_boxes', 'obj_boxes', 'obj_labels', 'verb_labels', 'st', 'is_mask', 'union_boxes')


def import_official(root: Path) -> Callable[[str], Any]:
    """A function that imports a module of the checkout, whose package init wants more packages."""
    package = types.ModuleType('datasets')
    package.__path__ = [str(root / 'datasets')]
    sys.modules['datasets'] = package
    sys.modules.setdefault('cv2', types.ModuleType('cv2'))
    sys.path.insert(0, str(root))
    return lambda name: importlib.import_module(f'datasets.{name}')


def random_box(rng: np.random.Generator, width: int, height: int) -> list[float]:
    """Usually a box inside the image; at times outside, reversed or without area."""
    x, y = rng.uniform(-10, width, 2), rng.uniform(-10, height, 2)
    if rng.random() < 0.85:
        x, y = np.sort(x), np.sort(y)
    if rng.random() < 0.05:
        x[:] = width + 5
    return np.round([x[0], y[0], x[1], y[1]], 2).tolist()


def random_image(rng: np.random.Generator, index: int, static: Any) -> tuple[dict, tuple[int, int]]:
    """One entry of the annotation list, and the size of its image."""
    width, height = (int(v) for v in rng.integers(40, 90, 2))
    count = int(rng.integers(66, 80)) if index % 10 == 7 else int(rng.integers(1, 9))
    kinds = [0, 0, *rng.integers(0, 80, 2).tolist()]
    labels = rng.choice(kinds, count)
    if index % 10 == 7:
        labels[16:] = rng.integers(1, 80, count - 16)
    boxes = [random_box(rng, width, height) for _ in range(count)]
    persons = np.flatnonzero(labels == 0)
    hois = []
    for _ in range(int(rng.integers(0, 10))):
        anyone = len(persons) == 0 or rng.random() < 0.1
        subject = int(rng.integers(count) if anyone else rng.choice(persons))
        target = subject if rng.random() < 0.1 else int(rng.integers(count))
        of_object = np.flatnonzero(np.array(static.HOI_IDX_TO_OBJ_IDX) == labels[target])
        verb = int(np.array(static.HOI_IDX_TO_ACT_IDX)[rng.choice(of_object)])
        if rng.random() < 0.15:
            verb = int(rng.choice([57, 8, 9, 79, int(rng.integers(117))]))
        hois.append({'subject_id': subject, 'object_id': target, 'category_id': verb + 1})
        if rng.random() < 0.1:
            hois.append(dict(hois[-1]))
    if index % 13 == 5 and hois:
        hois[-1]['object_id'] = count + int(rng.integers(3))
    entry = {
        'file_name': f'image_{index:03d}.png',
        'annotations': [
            {'bbox': box, 'category_id': static.OBJ_IDX_TO_COCO_ID[label]}
            for box, label in zip(boxes, labels, strict=True)
        ],
        'hoi_annotation': hois,
    }
    return entry, (width, height)


def collect(dataset: Any, out: dict[str, np.ndarray], prefix: str) -> None:
    """Concatenate the target fields of all images."""
    targets = [dataset[i][1] for i in range(len(dataset))]
    out[f'{prefix}/images'] = np.array(dataset.ids)
    out[f'{prefix}/counts'] = np.array([len(t['obj_labels']) for t in targets])
    for field in FIELDS:
        # The baselines without potential pairs lack some fields, or have them only for no pairs.
        if all(field in t and len(t[field]) == len(t['obj_labels']) for t in targets):
            value = torch.cat([t[field] for t in targets]).numpy()
            out[f'{prefix}/{field}'] = value.astype(np.uint8) if field == 'verb_labels' else value
    if 'st' in targets[0] and 'seen_mask' in targets[0]:
        out[f'{prefix}/seen_mask'] = targets[0]['seen_mask'].numpy()


def fixed_augmentation(transforms: Any, params: np.ndarray) -> Callable:
    """Flip, crop and resize of the official code with stored parameters, one row an image."""
    rows = iter(params.tolist())

    def apply(image: Any, target: dict) -> tuple[Any, dict]:
        mirrored, top, left, height, width, edge = next(rows)
        if mirrored:
            image, target = transforms.hflip(image, target)
        image, target = transforms.crop(image, target, (top, left, height, width))
        image, target = transforms.resize(image, target, edge, 100)
        return normalise(transforms)(image, target)

    return apply


def normalise(transforms: Any) -> Any:
    """The last step of the official pipeline, which also divides the boxes by the image size."""
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])


def pixels(transforms: Any, out: dict[str, np.ndarray]) -> None:
    """Images after each official transform."""
    rng = np.random.default_rng(7)
    ramp = np.add.outer(np.linspace(0, 160, 61), np.linspace(0, 60, 83))[..., None]
    array = (ramp + rng.integers(0, 36, (61, 83, 3))).astype(np.uint8)
    image = Image.fromarray(array)
    out['pixels/image'] = array
    out['pixels/flip'] = np.asarray(transforms.hflip(image, {})[0])
    out['pixels/crop'] = np.asarray(transforms.crop(image, {}, (5, 11, 40, 52))[0])
    for edge, limit in ((30, 0), (97, 110), (61, 1333)):
        resized = transforms.resize(image, None, edge, limit or None)[0]
        out[f'pixels/resize_{edge}_{limit}'] = np.asarray(resized)
    for seed in range(3):
        jitter = transforms.ColorJitter(0.4, 0.4, 0.4)
        torch.manual_seed(seed)
        inner = jitter.color_jitter
        order, *factors = torchvision.transforms.ColorJitter.get_params(
            inner.brightness, inner.contrast, inner.saturation, inner.hue
        )
        torch.manual_seed(seed)
        out[f'pixels/jitter_{seed}'] = np.asarray(jitter(image, None)[0])
        out[f'pixels/jitter_{seed}_order'] = order.numpy()
        out[f'pixels/jitter_{seed}_factors'] = np.array(factors[:3])
    sizes = [
        (*rng.integers(20, 400, 2), rng.integers(20, 300), rng.integers(60, 400))
        for _ in range(100)
    ]
    sizes += [(100, 100, 100, 100), (100, 50, 50, 100), (50, 100, 60, 100), (333, 500, 300, 400)]
    out['sizes/in'] = np.array(sizes)
    out['sizes/out'] = np.array(
        [
            transforms.resize(Image.new('L', (int(w), int(h))), None, int(e), int(m))[0].size[::-1]
            for w, h, e, m in sizes
        ]
    )


def main() -> None:
    """Run the official code and write the file."""
    load = import_official(Path(sys.argv[1]))
    static, transforms = load('static_hico'), load('transforms')
    rng = np.random.default_rng(2022)
    entries, sizes = zip(*(random_image(rng, i, static) for i in range(IMAGES)), strict=True)
    text = json.dumps(entries)
    out: dict[str, np.ndarray] = {
        'commit': np.array(COMMIT),
        'annotations': np.frombuffer(text.encode(), dtype=np.uint8),
        'image_sizes': np.array(sizes),
        'unseen/ua': np.array(static.UA_HOI_IDX),
    }
    for name, ids in static.UC_HOI_IDX.items():
        out[f'unseen/{name}'] = np.array(ids)
    with tempfile.TemporaryDirectory() as folder:
        for entry, size in zip(entries, sizes, strict=True):
            Image.new('RGB', size).save(Path(folder, entry['file_name']))
        anno_file = Path(folder, 'annotations.json')
        anno_file.write_text(text)

        def dataset(module: str, uc_type: str | None, steps: Callable) -> Any:
            args = Namespace(num_queries=64, uc_type=uc_type)
            return load(module).HICODetection('train', Path(folder), anno_file, steps, args)

        for name, (module, uc_type) in SETTINGS.items():
            collect(dataset(module, uc_type, normalise(transforms)), out, name)
        params = []
        for width, height in sizes:
            h, w = rng.integers(20, height + 1), rng.integers(20, width + 1)
            corner = rng.integers(height - h + 1), rng.integers(width - w + 1)
            params.append((rng.integers(2), *corner, h, w, rng.integers(20, 90)))
        out['augmented/params'] = np.array(params)
        kept = dataset('hico_ua_st_v1', None, normalise(transforms)).ids
        steps = fixed_augmentation(transforms, np.array(params)[kept])
        collect(dataset('hico_ua_st_v1', None, steps), out, 'augmented')
    pixels(transforms, out)
    np.savez_compressed(Path(__file__).parent / 'data' / 'hico_targets.npz', **out)


if __name__ == '__main__':
    main()
