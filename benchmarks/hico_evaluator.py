"""Time and memory of HICO-DET evaluation: EoID's released evaluator against HICODetMetric.

    python benchmarks/hico_evaluator.py --official PATH_TO_EOID_CHECKOUT
        [--annotations instances_test2015.json] [--images 500] [--repeats 5]

Inside the timer: from the (queries, 117) verb scores of every image to the results, NMS included.
Equality of all results is checked before a time is printed. Runs alternate, so that a drift of the
machine hits both. The released evaluator is run as it is, except that its sorts are made stable
(numpy's default leaves equal scores to the processor) and that an image without predictions gets
empty overlaps instead of a crash.
"""

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmvl.hoi.datasets import read_annotations
from mmvl.hoi.metrics import HICODetMetric
from mmvl.hoi.postprocessing import select_triplets
from mmvl.hoi.splits import unseen_hois
from mmvl.hoi.structures import HOIDataSample
from mmvl.hoi.vocabulary import HOI_OBJECT, HOI_VERB, VALID

NMS = {'threshold': 0.7, 'alpha': 1.0, 'beta': 0.5}
RESULTS = {
    'mAP': 'mAP',
    'mAP seen': 'mAP_seen',
    'mAP unseen': 'mAP_unseen',
    'mean max recall': 'mean_max_recall',
    'mean recall seen': 'recall_seen',
    'mean recall unseen': 'recall_unseen',
}


class _StableArray(np.ndarray):
    def argsort(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.argsort(np.asarray(self), kind='stable')


class _StableNumpy:
    """numpy for the official module, with a stable argsort."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def argsort(values: np.ndarray) -> np.ndarray:
        return np.argsort(values, kind='stable')


def official_evaluator(checkout: str, name: str = 'hico_ua_eval') -> type:
    """The evaluator class of an official checkout, patched as the module docstring says.

    Args:
        checkout: root of a clone of EoID's repository.
        name: ``hico_ua_eval`` (seen and unseen) or ``hico_eval`` (rare and non-rare).

    Returns:
        The class; instances also record ``aps``, the AP of every class with predictions.
    """
    file = Path(checkout) / 'datasets' / f'{name}.py'
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.np = _StableNumpy()
    module.print = lambda *_: None
    base = module.HICOUAEvaluator if name == 'hico_ua_eval' else module.HICOEvaluator

    class Patched(base):
        def pairwise_nms(self, subs: Any, objs: Any, scores: np.ndarray) -> list:
            return super().pairwise_nms(subs, objs, scores.view(_StableArray))

        def compute_iou_mat(self, truth: list, predictions: list) -> tuple[dict, dict]:
            return super().compute_iou_mat(truth, predictions) if predictions else ({}, {})

        def voc_ap(self, rec: np.ndarray, prec: np.ndarray) -> float:
            self.aps = [*getattr(self, 'aps', []), super().voc_ap(rec, prec)]
            return self.aps[-1]

    return Patched


def run_official(
    evaluator: type, images: Sequence[dict], unseen: np.ndarray, nms: dict | None = NMS
) -> tuple[dict, Any]:
    """Results and evaluator of the official code on images as :func:`make_images` makes them."""
    triplets = [(0, int(o), int(v)) for o, v in zip(HOI_OBJECT, HOI_VERB, strict=True)]
    held_out = set(unseen.tolist())
    groups = [
        [t for i, t in enumerate(triplets) if (i in held_out) == out] for out in (False, True)
    ]
    options = NMS if nms is None else nms
    args = SimpleNamespace(
        use_nms_filter=nms is not None,
        thres_nms=options['threshold'],
        nms_alpha=options['alpha'],
        nms_beta=options['beta'],
    )
    predictions = [official_prediction(image) for image in images]
    truths = [{k: image[k] for k in ('boxes', 'labels', 'hois', 'filename')} for image in images]
    instance = evaluator(predictions, truths, *groups, VALID.astype(np.float64), args)
    return instance.evaluate(), instance


def official_prediction(image: dict) -> dict[str, torch.Tensor]:
    """Predictions in the form that the official post-processing returns."""
    ids = torch.arange(2 * len(image['object_labels']))
    return {
        'boxes': torch.cat((image['subject_boxes'], image['object_boxes'])),
        'labels': torch.cat((torch.zeros_like(image['object_labels']), image['object_labels'])),
        'sub_ids': ids[: len(ids) // 2],
        'obj_ids': ids[len(ids) // 2 :],
        'verb_scores': image['verb_scores'],
    }


def process_batch(
    metric: HICODetMetric, images: Sequence[dict], first_id: int, nms: dict | None = NMS
) -> None:
    """Post-process images of equally many queries and hand them to the metric."""
    fields = ('verb_scores', 'object_labels', 'subject_boxes', 'object_boxes')
    batch = (torch.stack([image[field] for image in images]) for field in fields)
    samples = []
    for i, (image, pairs) in enumerate(zip(images, select_triplets(*batch, nms=nms), strict=True)):
        sample = HOIDataSample(
            metainfo={'img_id': first_id + i, 'file_name': image['filename']},
            gt_instances=InstanceData(boxes=image['boxes'], labels=image['labels']),
            gt_hois=image['hois'],
            pred_pairs=pairs,
        )
        samples.append(sample.to_dict())
    metric.process(None, samples)


def run_ours(images: Iterable[dict], unseen: np.ndarray, batch_size: int = 4) -> dict[str, float]:
    """Results of the metric on the same images; no more than a batch of them is held."""
    metric = HICODetMetric(unseen=unseen.tolist())
    rest, done = iter(images), 0
    while batch := list(itertools.islice(rest, batch_size)):
        process_batch(metric, batch, done)
        done += len(batch)
    return metric.compute_metrics(metric.results)


def make_images(annotations: str | None, count: int, queries: int) -> Iterator[dict]:
    """Images whose predictions are perturbed truth, seeded by their position.

    Args:
        annotations: a test annotation; without it boxes and interactions are random.
        count: number of images, 0 for all of the annotation.
        queries: predictions an image, before the cut to 100 triplets.
    """
    source = (
        _synthetic(count or 1000) if annotations is None else read_annotations(annotations, True)
    )
    listed = [image for image in source if len(image['hois'])]
    for i, image in enumerate(listed[: count or None]):
        rng = np.random.default_rng(i)
        boxes, labels, hois = (np.asarray(image[key]) for key in ('boxes', 'labels', 'hois'))
        pair = hois[rng.integers(len(hois), size=queries)]
        scores = rng.random((queries, 117), dtype=np.float32) ** 4
        scores[np.arange(queries), pair[:, 2]] *= rng.random(queries, dtype=np.float32) + 1
        objects = labels[pair[:, 1]]
        wrong = rng.random(queries) < 0.1
        objects = np.where(wrong, rng.integers(80, size=queries), objects)
        yield {
            'filename': image['file_name'],
            'boxes': torch.from_numpy(boxes.astype(np.float32)),
            'labels': torch.from_numpy(labels.astype(np.int64)),
            'hois': torch.from_numpy(hois.astype(np.int64)),
            'subject_boxes': _jitter(boxes[pair[:, 0]], rng),
            'object_boxes': _jitter(boxes[pair[:, 1]], rng),
            'object_labels': torch.from_numpy(objects.astype(np.int64)),
            'verb_scores': torch.from_numpy(scores),
        }


def _jitter(boxes: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return torch.from_numpy((boxes + rng.normal(0, 0.12, boxes.shape) * size).astype(np.float32))


def _synthetic(count: int) -> list[dict]:
    images = []
    for i in range(count):
        rng = np.random.default_rng((i, 1))
        hoi = rng.integers(600, size=rng.integers(1, 8))
        corner = rng.integers(0, 300, size=(2 * len(hoi), 2))
        boxes = np.concatenate((corner, corner + rng.integers(20, 200, size=corner.shape)), axis=1)
        ids = np.arange(len(hoi))
        labels = np.concatenate((np.zeros_like(hoi), HOI_OBJECT[hoi]))
        hois = np.stack((ids, ids + len(hoi), HOI_VERB[hoi]), axis=1)
        images.append({'file_name': f'{i}.jpg', 'boxes': boxes, 'labels': labels, 'hois': hois})
    return images


def _peak(args: argparse.Namespace) -> None:
    """Child process: how much its peak memory exceeds that of a warmed-up process, in MiB."""
    unseen = unseen_hois('ua')
    evaluator = official_evaluator(args.official)
    images = make_images(args.annotations, args.images, args.queries)
    warm_up = [next(images) for _ in range(8)]
    run_official(evaluator, _clone(warm_up), unseen)
    run_ours(warm_up, unseen)
    before = _memory('VmHWM')
    if args.peak == 'official':
        run_official(evaluator, list(images), unseen)
    else:
        run_ours(images, unseen)
    report = {'base': before, 'growth': _memory('VmHWM') - before}
    sys.stdout.write(json.dumps(report))


def _memory(field: str) -> float:
    status = Path('/proc/self/status').read_text()
    return int(next(line.split()[1] for line in status.splitlines() if field in line)) / 1024


def _clone(images: list[dict]) -> list[dict]:
    """The official code writes its mask into the scores that it is given."""
    return [{**image, 'verb_scores': image['verb_scores'].clone()} for image in images]


def _time(run: Any) -> tuple[float, Any]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def main() -> None:
    """Check equality, then print times and memory as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--official', required=True, help='root of an EoID checkout')
    parser.add_argument('--annotations', help='test annotation; synthetic without it')
    parser.add_argument('--images', type=int, default=500, help='0: all of the annotation')
    parser.add_argument('--queries', type=int, default=100)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--peak', choices=('official', 'ours'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.peak:
        return _peak(args)
    unseen = unseen_hois('ua')
    evaluator = official_evaluator(args.official)
    images = list(make_images(args.annotations, args.images, args.queries))
    official, ours = [], []
    for _ in range(args.repeats):
        copy = _clone(images)
        seconds, (theirs, _) = _time(lambda copy=copy: run_official(evaluator, copy, unseen))
        official.append(seconds)
        seconds, result = _time(lambda: run_ours(images, unseen))
        ours.append(seconds)
        differing = [k for k, v in RESULTS.items() if 100 * float(theirs[k]) != result[v]]
        if differing:
            raise SystemExit(f'results differ: {differing}\n{theirs}\n{result}')
    ratio = np.array(official) / np.array(ours)
    report = {
        'images': len(images),
        'queries': args.queries,
        'equal': True,
        'results': result,
        'official_cpu_s': float(np.median(official)),
        'ours_cpu_s': float(np.median(ours)),
        'ratio': dict(zip(('q1', 'median', 'q3'), np.percentile(ratio, (25, 50, 75)), strict=True)),
    }
    for side in ('official', 'ours'):
        child = subprocess.run(
            [sys.executable, *sys.argv, '--peak', side], capture_output=True, check=True
        )
        report[f'{side}_memory_mib'] = json.loads(child.stdout)
    sys.stdout.write(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
