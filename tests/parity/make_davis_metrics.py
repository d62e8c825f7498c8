"""Make the golden values of J, F and their statistics from the released evaluation of DAVIS.

    python tests/parity/make_davis_metrics.py DAVIS2017_EVALUATION

The argument is a checkout of davisvideochallenge/davis2017-evaluation on GitHub; scikit-image must
be installed. Nothing of the checkout is stored but the numbers that it computes.
"""

import subprocess
import sys
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
    )


if __name__ == '__main__':
    main(sys.argv[1])
