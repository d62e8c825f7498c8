"""Pictures of voxels, and the page in which they can be turned."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmvl.occupancy import OccupancySample
from mmvl.occupancy.datasets.classes import MOVABLE, OCC3D, OPENOCC
from mmvl.occupancy.rendering import (
    COLORS,
    SKY,
    class_colors,
    draw_voxels,
    render,
    view_from_above,
    view_from_behind,
)
from mmvl.occupancy.viewer import visible_voxels, write_viewer
from mmvl.occupancy.visualization import (
    OccupancyVisualizationHook,
    OccupancyVisualizer,
    draw_cameras,
)

FREE = len(OCC3D) - 1
LOWER, SIZE = (-4.0, -4.0, -1.0), 0.5
GRID = (16, 16, 6)


def empty() -> np.ndarray:
    return np.full(GRID, FREE, np.uint8)


def count(picture: np.ndarray, name: str) -> int:
    """Pixels whose hue is that of a class, however bright."""
    want = np.array(COLORS[name], np.float64)
    scale = picture.max(-1, keepdims=True) / want.max()
    return int((np.abs(picture - want * scale).max(-1) < 6).sum())


def test_every_class_has_a_colour_of_its_own() -> None:
    for classes in (OCC3D, OPENOCC):
        assert set(classes[:-1]) <= set(COLORS)
        assert len({tuple(color) for color in class_colors(classes[:-1])}) == len(classes) - 1
    assert set(MOVABLE) <= set(COLORS) and class_colors(['new', 'car']).shape == (2, 3)


def test_from_above_forward_is_up_and_left_is_left() -> None:
    grid = empty()
    # far in front, on the left
    grid[14, 13, 2] = OCC3D.index('bus')
    upper = [low + n * SIZE for low, n in zip(LOWER, GRID, strict=True)]
    rays = view_from_above(32, LOWER, upper)
    picture = render(grid, class_colors(OCC3D[:-1]), rays, LOWER, SIZE)
    rows, columns = (picture != SKY).any(-1).nonzero()
    assert (rows.min(), rows.max()) == (2, 3) and (columns.min(), columns.max()) == (4, 5)


def test_the_upper_voxel_hides_the_lower() -> None:
    grid = empty()
    grid[5, 5, 1], grid[5, 5, 4] = OCC3D.index('bus'), OCC3D.index('vegetation')
    upper = [low + n * SIZE for low, n in zip(LOWER, GRID, strict=True)]
    picture = render(grid, class_colors(OCC3D[:-1]), view_from_above(64, LOWER, upper), LOWER, SIZE)
    assert count(picture, 'vegetation') == 16 and count(picture, 'bus') == 0


def test_from_behind_left_is_left_and_near_hides_far() -> None:
    grid = empty()
    grid[10, 12, 2] = OCC3D.index('bus')
    rays = view_from_behind(60, 100, 4.0)
    picture = render(grid, class_colors(OCC3D[:-1]), rays, LOWER, SIZE)
    seen = (picture != SKY).any(-1).nonzero()[1]
    assert len(seen) > 10 and seen.max() < 50
    # a wall between
    grid[6, :, :] = OCC3D.index('manmade')
    assert count(render(grid, class_colors(OCC3D[:-1]), rays, LOWER, SIZE), 'bus') == 0


def test_free_and_unsupervised_voxels_are_not_drawn() -> None:
    grid = empty()
    assert np.array_equal(
        draw_voxels(grid, OCC3D, LOWER, SIZE, 40),
        draw_voxels(np.where(grid == FREE, 255, grid).astype(np.uint8), OCC3D, LOWER, SIZE, 40),
    )
    picture = draw_voxels(grid, OCC3D, LOWER, SIZE, 40)
    assert picture.shape == (40, 64 + 8 + 40, 3)
    # only the car, in the middle of the view from above
    rows, columns = (picture[:, 72:] != SKY).any(-1).nonzero()
    assert 100 < len(rows) < 300 and abs(columns.mean() - 19.5) < 2
    with pytest.raises(ValueError, match='semantics is'):
        draw_voxels(grid[0])


def sample_of(folder: Path, **fields: torch.Tensor) -> OccupancySample:
    names = ('CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_BACK')
    paths = [folder / 'samples' / name / 'x.png' for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (32, 20), (80 * number, 0, 200)).save(path)
    meta = {'scene_name': 's', 'sample_index': 3, 'sample_token': 't'}
    sample = OccupancySample(metainfo={**meta, 'image_paths': list(map(str, paths))})
    for name, value in fields.items():
        setattr(sample, name, value)
    return sample


def test_visualizer_draws_what_is_there(tmp_path: Path) -> None:
    grid = torch.from_numpy(empty())
    grid[8, 8:12, 1] = OCC3D.index('truck')
    visualizer = OccupancyVisualizer(lower=LOWER, voxel_size=SIZE, height=60)
    both = sample_of(tmp_path, gt_semantics=grid.long(), pred_semantics=grid)
    file = tmp_path / 'out' / 'a.png'
    tall = visualizer.add_datasample('a', None, both, out_file=str(file), viewer=True)
    assert np.array_equal(np.asarray(Image.open(file)), tall)
    page = file.with_suffix('.html').read_text()
    assert '"labels"' in page and '"prediction"' in page
    low = visualizer.add_datasample('a', None, both, draw_gt=False, out_file=str(file))
    assert low.shape[0] < tall.shape[0] and count(low, 'truck') > 20
    with pytest.raises(ValueError, match='neither labels nor a prediction'):
        visualizer.add_datasample('a', None, sample_of(tmp_path))
    visualizer.dataset_meta = {'classes': OPENOCC}
    assert visualizer.classes == OPENOCC


def test_cameras_stand_where_they_look() -> None:
    names = ['CAM_FRONT_LEFT', 'CAM_FRONT', 'CAM_BACK']
    images = [np.full((20, 32, 3), 60 * i + 20, np.uint8) for i in range(3)]
    picture = draw_cameras(images, names, 48)
    rows = [picture[15, 25, 0], picture[15, 60, 0], picture[43, 25, 0]]
    # front, back, front left
    assert rows == [80, 140, 20]


def test_hook_names_frames_and_reads_all_cameras(tmp_path: Path) -> None:
    sample = sample_of(tmp_path)
    hook = OccupancyVisualizationHook(draw=True)
    assert hook.name_of(sample) == 's/00003_t'
    assert [image[0, 0].tolist() for image in hook.image_of(sample)] == [
        [0, 0, 200], [80, 0, 200], [160, 0, 200],
    ]  # fmt: skip


def test_hidden_voxels_are_left_out() -> None:
    grid = np.full((5, 5, 5), FREE)
    grid[1:4, 1:4, 1:4] = 4
    found = visible_voxels(grid, FREE)
    assert len(found) == 26 and [2, 2, 2, 4] not in found.tolist()
    assert len(visible_voxels(np.zeros((3, 3, 3), int), FREE)) == 26


def page_of(folder: Path, classes: list[str]) -> str:
    grid = np.full((3, 2, 2), len(classes))
    grid[2, 1, 0] = 1
    colors = np.arange(3 * len(classes), dtype=np.uint8).reshape(-1, 3)
    write_viewer(folder / 'page.html', {'prediction': grid}, classes, colors, (0, 0, 0), 0.4)
    return (folder / 'page.html').read_text()


def test_the_page_holds_the_voxels_and_asks_nobody(tmp_path: Path) -> None:
    page = page_of(tmp_path, ['</script><script>alert(1)', 'car'])
    assert page.count('</script>') == 1 and page.count('<script>') == 1
    assert not re.search(r'https?:|//[a-z]+\.|src=|@import|fetch\(|XMLHttp', page)
    data = json.loads(re.search(r'const DATA = (.*);', page).group(1))
    assert data['classes'][1] == 'car' and data['size'] == [3, 2, 2]
    assert list(base64.b64decode(data['layers'][0]['voxels'])) == [2, 1, 0, 1]
    with pytest.raises(ValueError, match='256 voxels'):
        write_viewer(
            tmp_path / 'b.html', {'a': np.zeros((300, 1, 1))}, ['a'], np.zeros((1, 3)), (0,), 1
        )


@pytest.mark.skipif(shutil.which('node') is None, reason='there is no node to read the script')
def test_the_script_is_valid(tmp_path: Path) -> None:
    script = re.search(r'<script>(.*)</script>', page_of(tmp_path, ['a', 'b']), re.DOTALL).group(1)
    (tmp_path / 'script.js').write_text(script)
    done = subprocess.run(
        ['node', '--check', str(tmp_path / 'script.js')],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
