"""Make the golden values of J, F and their statistics from the released evaluation of DAVIS.

    python tests/parity/make_davis_metrics.py DAVIS2017_EVALUATION

The argument is a checkout of davisvideochallenge/davis2017-evaluation on GitHub; scikit-image must
be installed. Nothing of the checkout is stored but the numbers that it computes.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
FRAMES = (1, 2, 3, 5, 8, 40, 69, 255, 256, 257, 300, 600)


def main(checkout: str) -> None:
    """Compute and write ``data/davis_metrics.npz``."""
    sys.path[:0] = [checkout, str(HERE)]
    from davis2017.metrics import db_eval_boundary, db_eval_iou  # type: ignore[import-not-found]
    from davis2017.utils import db_statistics  # type: ignore[import-not-found]
    from davis_case import NUM_PAIRS, mask_pair, object_values

    warnings.simplefilter('ignore', RuntimeWarning)
    region, contour = np.empty((2, NUM_PAIRS))
    for seed in range(NUM_PAIRS):
        pred, truth, void = mask_pair(seed)
        region[seed] = db_eval_iou(truth, pred, void)
        contour[seed] = db_eval_boundary(truth, pred, void)
    summary = [db_statistics(object_values(seed, frames)) for seed, frames in enumerate(FRAMES)]
    with tempfile.TemporaryDirectory() as folder:
        tasks = evaluate(Path(folder))
    commit = subprocess.run(
        ['git', '-C', checkout, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True
    ).stdout.strip()
    np.savez_compressed(
        HERE / 'data/davis_metrics.npz',
        region=region,
        contour=contour,
        frames=FRAMES,
        statistics=np.array(summary),
        commit=commit,
        **tasks,
    )


def evaluate(root: Path) -> dict[str, np.ndarray]:
    """Task -> mean, recall and decay of J, then of F, for each object (N, 6)."""
    from davis2017.evaluation import DAVISEvaluation  # type: ignore[import-not-found]
    from davis_case import write_sequences

    found = {}
    for task, names in write_sequences(root).items():
        for name in names:
            for annotation in (root / 'results' / name).glob('*.png'):
                image = root / 'JPEGImages/480p' / name / f'{annotation.stem}.jpg'
                image.parent.mkdir(parents=True, exist_ok=True)
                image.touch()  # counted, not read
        (root / 'ImageSets/2017').mkdir(parents=True, exist_ok=True)
        (root / 'ImageSets/2017/val.txt').write_text('\n'.join(names))
        measured = DAVISEvaluation(str(root), task, 'val').evaluate(str(root / 'results'))
        found[task] = np.array([measured[m][s] for m in 'JF' for s in 'MRD']).T
    return found


if __name__ == '__main__':
    main(sys.argv[1])
