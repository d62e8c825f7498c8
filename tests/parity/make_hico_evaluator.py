"""Make ``data/hico_evaluator.npz``: what EoID's released evaluators say about random cases.

    python tests/parity/make_hico_evaluator.py PATH_TO_EOID_CHECKOUT

The file was made from commit 6bc11d5821fd9a6be2f47e571eb4d57f81284095 of mrwu-mac/EoID, its sorts
made stable and images without predictions given empty overlaps (see ``official_evaluator`` in
``benchmarks/hico_evaluator.py``). Inputs are made again from the seed; a checksum of them is kept.
"""

import sys
import zlib
from pathlib import Path

import numpy as np
import torch

from mmvl.hoi.splits import RARE
from mmvl.hoi.vocabulary import HOI_OBJECT, HOI_VERB

COMMIT = '6bc11d5821fd9a6be2f47e571eb4d57f81284095'
CASES = 100
SEEN_NAMES = (
    'mAP',
    'mAP seen',
    'mAP unseen',
    'mean max recall',
    'mean recall seen',
    'mean recall unseen',
)
RARE_NAMES = ('mAP', 'mAP rare', 'mAP non-rare', 'mean max recall')


def make_case(seed: int) -> dict:
    """Images, held-out HOIs and NMS options of one random case.

    Few objects and verbs, so that much collides: equal scores, repeated queries, annotated pairs
    listed twice, overlaps of exactly 0.5, scores of 0, images without boxes, without interactions
    or without predictions, subjects that are no persons.
    """
    rng = np.random.default_rng(seed)
    hois = rng.choice(600, size=rng.integers(2, 13), replace=False)
    count = 150 if seed % 20 == 0 else int(rng.integers(1, 30))
    levels = (0, 4, 50)[seed % 3]
    images = [_make_image(rng, f'{seed}_{i}', hois, levels) for i in range(count)]
    images[0]['hois'] = _annotate(rng, images[0], hois)
    nms = {'threshold': 0.5 + 0.1 * (seed % 4), 'alpha': 1.0, 'beta': 0.5 + 0.5 * (seed % 2)}
    unseen = RARE if seed % 2 else np.sort(rng.choice(600, size=200, replace=False))
    return {'images': images, 'unseen': unseen, 'nms': None if seed % 5 == 0 else nms}


def checksum(case: dict) -> int:
    """CRC-32 of all tensors of a case."""
    crc = 0
    for image in case['images']:
        for key in sorted(image.keys() - {'filename'}):
            crc = zlib.crc32(np.ascontiguousarray(image[key].numpy()).tobytes(), crc)
    return crc


def _make_image(rng: np.random.Generator, name: str, hois: np.ndarray, levels: int) -> dict:
    objects = np.unique(HOI_OBJECT[hois])
    people = int(rng.integers(1, 4))
    things = int(rng.integers(1, 5))
    labels = np.concatenate((np.zeros(people, dtype=np.int64), rng.choice(objects, things)))
    if rng.random() < 0.1:
        labels[0] = rng.choice(objects)
    corner = rng.integers(0, 12, size=(len(labels), 2))
    boxes = np.concatenate((corner, corner + rng.integers(3, 30, size=corner.shape)), axis=1)
    queries = int(rng.integers(0, 12)) if rng.random() < 0.95 else 60
    subject, thing = rng.integers(people, size=queries), people + rng.integers(things, size=queries)
    scores = rng.random((queries, 117), dtype=np.float32)
    scores *= np.isin(np.arange(117), HOI_VERB[hois]) | (rng.random(117) < 0.05)
    if levels:
        scores = np.floor(scores * levels).astype(np.float32) / np.float32(levels)
    image = {
        'filename': f'{name}.jpg',
        'boxes': torch.from_numpy(boxes.astype(np.float32)),
        'labels': torch.from_numpy(labels),
        'subject_boxes': _move(rng, boxes[subject]),
        'object_boxes': _move(rng, boxes[thing]),
        'object_labels': torch.from_numpy(labels[thing]),
        'verb_scores': torch.from_numpy(scores),
    }
    if queries > 3 and rng.random() < 0.3:
        for key in ('subject_boxes', 'object_boxes', 'object_labels', 'verb_scores'):
            image[key][2] = image[key][1]
    kind = rng.random()
    image['hois'] = _annotate(rng, image, hois)
    if kind < 0.2:
        image['hois'] = image['hois'][:0]
    if kind < 0.1:
        image['boxes'], image['labels'] = image['boxes'][:0], image['labels'][:0]
    return image


def _annotate(rng: np.random.Generator, image: dict, hois: np.ndarray) -> torch.Tensor:
    labels = image['labels'].numpy()
    people = np.flatnonzero(labels == 0)
    rows = []
    for _ in range(int(rng.integers(1, 9)) if len(labels) else 0):
        thing = int(rng.integers(len(labels)))
        verbs = HOI_VERB[hois[HOI_OBJECT[hois] == labels[thing]]]
        if len(verbs) and len(people):
            subject = rng.choice(people) if rng.random() < 0.97 else rng.integers(len(labels))
            rows.append([int(subject), thing, int(rng.choice(verbs))])
    if rows and rng.random() < 0.3:
        rows.append(rows[0])
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)


def _move(rng: np.random.Generator, boxes: np.ndarray) -> torch.Tensor:
    if rng.random() < 0.5:
        shift = rng.integers(-1, 2, size=boxes.shape)
    else:
        shift = rng.normal(0, 1, size=boxes.shape)
    return torch.from_numpy((boxes + shift).astype(np.float32))


def main() -> None:
    """Run the official evaluators on every case and write the file."""
    sys.path.insert(0, str(Path(__file__).parents[2] / 'benchmarks'))
    from hico_evaluator import official_evaluator, run_official

    checkout = sys.argv[1]
    seen_form = official_evaluator(checkout)
    rare_form = official_evaluator(checkout, 'hico_eval')
    means, aps, checksums = np.full((CASES, len(SEEN_NAMES)), np.nan), [], []
    for seed in range(CASES):
        case = make_case(seed)
        checksums.append(checksum(case))
        if seed % 2 == 0:
            evaluator, groups, names = seen_form, case['unseen'], SEEN_NAMES
        else:
            evaluator, groups, names = rare_form, np.setdiff1d(np.arange(600), RARE), RARE_NAMES
        result, instance = run_official(evaluator, case['images'], groups, case['nms'])
        means[seed, : len(names)] = [result[name] for name in names]
        found = iter(getattr(instance, 'aps', []))
        per_class = [float(next(found)) if instance.tp[t] else 0.0 for t in instance.gt_triplets]
        aps.append(np.array(per_class))
    target = Path(__file__).parent / 'data' / 'hico_evaluator.npz'
    np.savez_compressed(
        target,
        commit=COMMIT,
        checksums=np.array(checksums, dtype=np.uint32),
        means=means,
        num_classes=np.array([len(a) for a in aps]),
        aps=np.concatenate(aps),
    )


if __name__ == '__main__':
    main()
