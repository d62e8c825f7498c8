"""Time and memory of our operators on the CPU: C++ against plain PyTorch, in one run.

    python benchmarks/occupancy_ops.py [--threads 2] [--repeats 3]
        [--only pool pool-backward splat rays]

pool: bev_pool at the size of ALOcc-3D, 3.9 million points of six cameras, 32 channels, 640,000
voxels; plain PyTorch is ``zeros.index_add(0, voxel, weights[:, None] * features[rows])``. splat: as
many points between voxels, each on eight of them. rays: the rays of one sample of RayIoU, eight
origins of 14,040 directions, 112,320 in all, through a street of boxes. Times are medians, and the
two take turns. Peak memory is what the process holds at most beyond what it held before the call,
each call in a process of its own. Results are compared before a time is printed. Bandwidth is that
of copying a tensor of 256 MB (read and write counted), measured in the same run.
"""

import argparse
import ctypes
import gc
import multiprocessing
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmvl.ops import backend, bev_pool, bev_pool_prepare, soft_splat, voxel_ray_cast

GRID = (200, 200, 16)
VOXELS = 200 * 200 * 16
CAMERAS, DEPTHS, HEIGHT, WIDTH = 6, 920, 16, 44
CHANNELS = 32
Step = Callable[[], Tensor]


def camera_points() -> tuple[Tensor, Tensor]:
    """Voxel coordinates (P, 3) of the points of six cameras on a ring, and their pixels (P,)."""
    camera, depth, row, column = torch.meshgrid(
        *(torch.arange(size) for size in (CAMERAS, DEPTHS, HEIGHT, WIDTH)), indexing='ij'
    )
    # eight points to a depth, a little beside each other, as trilinear filling gives them
    metres = 1 + 0.5 * (depth // 8 % 88) + 0.05 * (depth % 8)
    angle = (camera + (column / WIDTH - 0.5) * 1.1) * (2 * torch.pi / CAMERAS)
    x, y = metres * angle.cos(), metres * angle.sin()
    z = 1.5 - metres * (row / HEIGHT - 0.45) * 0.5
    place = torch.stack((x + 40, y + 40, z + 1), -1).reshape(-1, 3) / 0.4
    pixel = (camera * HEIGHT + row) * WIDTH + column
    return place, pixel.flatten()


def pool_case() -> tuple[Step, Step, int]:
    """C++ and plain PyTorch of bev_pool, and the bytes that must be moved at least."""
    place, pixel = camera_points()
    voxels, batch = place.long(), torch.zeros(len(place), dtype=torch.int64)
    found = bev_pool_prepare(voxels, batch, GRID, 1)
    weights = torch.rand(len(place))
    features = torch.randn(CAMERAS * HEIGHT * WIDTH, CHANNELS)
    index = (found.kept, pixel[found.kept], found.index_voxel)
    runs = (found.starts, found.lengths)

    def ours() -> Tensor:
        return bev_pool(weights, features, *index, *runs, VOXELS)

    def plain() -> Tensor:
        products = weights[index[0]][:, None] * features[index[1]]
        return torch.zeros(VOXELS, CHANNELS).index_add(0, index[2], products)

    # indices and weights once, every voxel once; rows of features stay in the cache
    points = len(found.kept)
    return ours, plain, points * (8 + 8 + 8 + 4) + VOXELS * CHANNELS * 4


def pool_backward_case() -> tuple[Step, Step, int]:
    """The same with both gradients."""
    place, pixel = camera_points()
    voxels, batch = place.long(), torch.zeros(len(place), dtype=torch.int64)
    found = bev_pool_prepare(voxels, batch, GRID, 1)
    weights = torch.rand(len(place), requires_grad=True)
    features = torch.randn(CAMERAS * HEIGHT * WIDTH, CHANNELS, requires_grad=True)
    index = (found.kept, pixel[found.kept], found.index_voxel)
    runs = (found.starts, found.lengths)
    grad = torch.randn(VOXELS, CHANNELS)

    def ours() -> Tensor:
        pooled = bev_pool(weights, features, *index, *runs, VOXELS)
        return torch.autograd.grad(pooled, (weights, features), grad)[1]

    def plain() -> Tensor:
        products = weights[index[0]][:, None] * features[index[1]]
        pooled = torch.zeros(VOXELS, CHANNELS).index_add(0, index[2], products)
        return torch.autograd.grad(pooled, (weights, features), grad)[1]

    points = len(found.kept)
    return ours, plain, 2 * points * (8 + 8 + 8 + 4) + 2 * VOXELS * CHANNELS * 4


def splat_case() -> tuple[Step, Step, int]:
    """C++ and plain PyTorch of soft_splat."""
    place, pixel = camera_points()
    weights = torch.rand(len(place))
    features = torch.randn(CAMERAS * HEIGHT * WIDTH, CHANNELS)
    batch = torch.zeros(len(place), dtype=torch.int64)

    def ours() -> Tensor:
        return soft_splat(weights, place, features, pixel, batch, GRID, 1)

    def plain() -> Tensor:
        with backend('reference'):
            return ours()

    return ours, plain, len(place) * (4 + 12 + 8 + 8) + VOXELS * CHANNELS * 4


def street() -> Tensor:
    """A grid (1, Z, Y, X) with ground, two rows of houses and boxes."""
    occupied = torch.zeros(1, GRID[2], GRID[1], GRID[0], dtype=torch.bool)
    occupied[:, :3] = True
    occupied[:, :14, :60, ::2] = occupied[:, :14, 140:, ::3] = True
    for i in range(12):
        y, x = 70 + 5 * i, 15 * i + 5
        occupied[:, 3:8, y : y + 5, x : x + 11] = True
    return occupied


def rays_case() -> tuple[Step, Step, int]:
    """C++ and plain PyTorch of the ray caster."""
    pitches = [-(torch.pi / 2 - torch.atan(torch.tensor(float(k)))) for k in range(1, 11)]
    while pitches[-1] < 0.21:
        pitches.append(2 * pitches[-1] - pitches[-2])
    pitch, azimuth = torch.meshgrid(
        torch.stack(pitches), torch.deg2rad(torch.arange(360.0)), indexing='ij'
    )
    flat = torch.stack((pitch.cos() * azimuth.cos(), pitch.cos() * azimuth.sin(), pitch.sin()), -1)
    direction = flat.reshape(-1, 3).repeat(8, 1)
    place = torch.tensor([[20.0 + 20 * i, 96.0 + i, 7.1] for i in range(8)])
    origins = place.repeat_interleave(len(direction) // 8, 0)
    occupied, index = street(), torch.zeros(len(direction), dtype=torch.int64)

    def ours() -> Tensor:
        distance, voxel, hit = voxel_ray_cast(occupied, origins, origins + direction, index)
        return torch.cat((distance[:, None], voxel, hit[:, None]), 1)

    def plain() -> Tensor:
        with backend('reference'):
            return ours()

    return ours, plain, 0


CASES = {
    'pool': pool_case,
    'pool-backward': pool_backward_case,
    'splat': splat_case,
    'rays': rays_case,
}


def resident() -> int:
    """Bytes that this process holds."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * resource.getpagesize()


def peak(name: str, which: int, threads: int, answers: multiprocessing.Queue) -> None:
    """Put the most memory that was held during one call, in bytes beyond what was held before."""
    torch.set_num_threads(threads)
    step = CASES[name]()[which]
    # what making the input has left is given back, or the call would use that
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = step()
    done.set()
    watcher.join()
    answers.put(max(most, resident()) - before)
    del kept


def bandwidth(repeats: int = 5) -> float:
    """Bytes a second of copying, read and write counted."""
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.numel() * 4 / min(seconds)


def compare(name: str, threads: int, repeats: int) -> None:
    """Time both sides of a case in turn, and print a line."""
    ours, plain, least = CASES[name]()
    seconds: dict[str, list[float]] = {'ours': [], 'plain': []}
    results = {}
    for number in range(repeats + 1):
        for step in (plain, ours) if number % 2 else (ours, plain):
            start = time.perf_counter()
            results[step.__name__] = step()
            if number:
                seconds[step.__name__].append(time.perf_counter() - start)
    if name == 'rays':
        assert torch.equal(results['ours'], results['plain'])
    else:
        torch.testing.assert_close(results['ours'], results['plain'], rtol=1e-4, atol=1e-3)
    ratio = statistics.median(p / o for p, o in zip(seconds['plain'], seconds['ours'], strict=True))
    medians = {key: statistics.median(values) for key, values in seconds.items()}
    memory = []
    for which in (0, 1):
        answers: multiprocessing.Queue = multiprocessing.get_context('spawn').Queue()
        child = multiprocessing.get_context('spawn').Process(
            target=peak, args=(name, which, threads, answers)
        )
        child.start()
        memory.append(answers.get() / 2**20)
        child.join()
    line = (
        f'{name}: C++ {medians["ours"]:.3f} s, {memory[0]:.0f} MiB; plain PyTorch '
        f'{medians["plain"]:.3f} s, {memory[1]:.0f} MiB; ratio of times {ratio:.1f}'
    )
    if least:
        speed = least / medians['ours']
        line += f'; {speed / 1e9:.1f} GB/s, {100 * speed / bandwidth():.0f} % of copying'
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()


def main() -> None:
    """Compare case by case."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--only', nargs='+', choices=list(CASES), default=list(CASES))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sys.stdout.write(
        f'torch {torch.__version__}, {args.threads} threads, copying {bandwidth() / 1e9:.1f} GB/s\n'
    )
    with backend('compiled'):
        for name in args.only:
            compare(name, args.threads, args.repeats)


if __name__ == '__main__':
    main()
