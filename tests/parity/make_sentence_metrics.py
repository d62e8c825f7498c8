"""Make the golden values of P@K, IoU and mAP from the released evaluation of ReferFormer.

    python tests/parity/make_sentence_metrics.py REFERFORMER

The argument is a checkout of wjn922/ReferFormer on GitHub, of which datasets/a2d_eval.py is run;
what engine.py does with pycocotools is repeated here. Only numbers are stored.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

HERE = Path(__file__).parent


def main(checkout: str) -> None:
    """Compute and write ``data/sentence_metrics.npz``."""
    sys.path.insert(0, str(HERE))
    from sentence_case import NUM_SETS

    spec = importlib.util.spec_from_file_location(
        'a2d_eval', Path(checkout, 'datasets/a2d_eval.py')
    )
    assert spec is not None and spec.loader is not None
    official = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(official)
    rows = [evaluate(official, seed) for seed in range(NUM_SETS)]
    commit = subprocess.run(
        ['git', '-C', checkout, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True
    ).stdout.strip()
    np.savez_compressed(HERE / 'data/sentence_metrics.npz', values=np.array(rows), commit=commit)


def evaluate(official: Any, seed: int) -> list[float]:
    """P@0.5 to P@0.9, overall and mean IoU, then mAP, AP50, AP75 and AP of S, M and L."""
    from sentence_case import sentence_cases

    truth: dict[str, list] = {'categories': [{'id': 1}], 'images': [], 'annotations': []}
    found = []
    for number, case in enumerate(sentence_cases(seed), start=1):
        height, width = case.truth.shape
        truth['images'].append({'id': case.image_id, 'height': height, 'width': width})
        code = encode(case.truth)
        common = {'image_id': case.image_id, 'category_id': 1}
        truth['annotations'].append(
            {
                **common,
                'id': number,
                'segmentation': code,
                'area': int(coco_mask.area(code)),
                'iscrowd': 0,
            }
        )
        for mask, score in zip(case.masks, case.scores, strict=True):
            found.append({**common, 'segmentation': encode(mask), 'score': score.item()})
    coco = COCO()
    coco.dataset = {**truth, 'info': {}}
    coco.createIndex()
    results = coco.loadRes(found)
    evaluation = COCOeval(coco, results, iouType='segm')
    evaluation.params.useCats = 0
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    precision, overall, mean = official.calculate_precision_at_k_and_iou_metrics(coco, results)
    return [*precision, overall, mean, *evaluation.stats[:6]]


def encode(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run-length code."""
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


if __name__ == '__main__':
    main(sys.argv[1])
