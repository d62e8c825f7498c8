"""Where the rays of RayIoU start: LiDAR positions of the whole scene, seen from one frame.

Source: SparseOcc (Liu et al., ECCV 2024), released evaluation; OccNet's is the same.
"""

import numpy as np

LIMIT = 39.0
MOST = 8


def ray_origins(
    lidar2global: np.ndarray,
    current: int,
    lidar2ego: np.ndarray,
    limit: float = LIMIT,
    most: int = MOST,
) -> np.ndarray:
    """Choose the origins of a frame.

    Args:
        lidar2global: (T, 4, 4) float64, of the frames of the scene in the order of time.
        current: which of them is meant.
        lidar2ego: (4, 4), of this frame.
        limit: |x| and |y| must be less, metres.
        most: of more origins, as many are taken, evenly spread over time.

    Returns:
        (O, 3) float64 in the ego frame of the current frame. Positions relative to its LiDAR are
        rounded to single precision on the way, as in the released code.
    """
    relative = np.linalg.inv(lidar2global[current]) @ lidar2global
    places = relative[:, :3, 3].astype(np.float32).astype(np.float64)
    places[current] = 0
    origins = places @ lidar2ego[:3, :3].T + lidar2ego[:3, 3]
    origins = origins[(np.abs(origins[:, :2]) < limit).all(1)]
    if len(origins) > most:
        origins = origins[np.round(np.linspace(0, len(origins) - 1, most)).astype(np.int64)]
    return origins
