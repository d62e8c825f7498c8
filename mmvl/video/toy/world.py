"""The toy world on disk: Ref-YouTube-VOS's own files, drawn, with a vocabulary for a small text
encoder.
"""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from .scenes import COLOURS, FRAMES, MOTIONS, SHAPES, STILL, Scene, draw_scene, paint

SPECIAL: Final = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')
NAMES: Final = tuple(f'{5 * t:05d}' for t in range(FRAMES))
"""Of the frames: as in the release, every fifth of a video."""
KINDS: Final = ('appearance', 'motion')
PALETTE: Final = (0, 0, 0, 236, 95, 103, 249, 145, 87, 250, 200, 99)


def write_world(
    folder: str | Path, seed: int = 0, num_train: int = 600, num_valid: int = 100
) -> None:
    """Write a world in the layout and the files of Ref-YouTube-VOS.

    Every video shows two twins, which look alike and move in contrary ways, and another thing. Two
    kinds of sentences:

    * ``motion``: what one of the twins does, such as "the red circle that moves left". In no frame
      can it be told from its twin, except where it is just hidden by a box, or hides it.
    * ``appearance``: the look of the other thing, such as "the blue square".

    Unlike the released ones, the validation videos have masks. Beside the real keys, expressions
    have their ``kind``, and objects in ``meta.json`` their ``colour`` and ``motion``.

    Args:
        folder: gets ``train`` and ``valid``, each with ``JPEGImages``, ``Annotations`` and
            ``meta.json``; ``meta_expressions``, also with ``appearance.json`` and ``motion.json``,
            which have one kind only; and ``vocab.txt``.
        seed: same seed, same bytes.
        num_train: videos to train on.
        num_valid: videos to validate on.
    """
    folder = Path(folder)
    for stream, (split, count) in enumerate({'train': num_train, 'valid': num_valid}.items()):
        said, objects = {}, {}
        for index in range(count):
            rng = np.random.default_rng((seed, stream, index))
            video, scene = f'toy{index:05d}', draw_scene(rng)
            ids = scene.ids()
            _write_frames(folder / split, video, paint(scene, rng), ids)
            said[video] = {'expressions': _expressions(scene, rng), 'frames': list(NAMES)}
            objects[video] = {'objects': _objects(scene, ids)}
        _write_json(folder / split / 'meta.json', objects)
        _write_json(folder / f'meta_expressions/{split}/meta_expressions.json', said)
        for kind in KINDS:
            _write_json(folder / f'meta_expressions/{split}/{kind}.json', _only(said, kind))
    # the list of valid is read without the videos of test, of which there are none
    for name in ('meta_expressions', *KINDS):
        _write_json(folder / f'meta_expressions/test/{name}.json', {})
    (folder / 'vocab.txt').write_text('\n'.join(_vocabulary()) + '\n')


def _write_frames(folder: Path, video: str, frames: np.ndarray, ids: np.ndarray) -> None:
    for kind in ('JPEGImages', 'Annotations'):
        (folder / kind / video).mkdir(parents=True, exist_ok=True)
    for name, frame, numbers in zip(NAMES, frames, ids, strict=True):
        Image.fromarray(frame).save(folder / f'JPEGImages/{video}/{name}.jpg', quality=95)
        palette = Image.fromarray(numbers)
        palette.putpalette(PALETTE)  # which makes it one
        palette.save(folder / f'Annotations/{video}/{name}.png')


def _expressions(scene: Scene, rng: np.random.Generator) -> dict[str, Any]:
    """What is said: of each twin what it does, of the other thing how it looks."""
    looks = [thing.look for thing in scene.things]
    other = next(thing for thing in scene.things if looks.count(thing.look) == 1)
    found = {}
    for index, thing in enumerate(scene.things):
        kind, text = 'appearance', f'the {thing.look}'
        if thing is not other:
            names = [thing.look]
            names += [thing.shape] if thing.shape != other.shape else []
            names += ['one'] if other.motion == STILL else []
            kind, text = 'motion', f'the {names[rng.integers(len(names))]} that {thing.motion}'
        found[str(index)] = {'exp': text, 'obj_id': str(index + 1), 'kind': kind}
    return found


def _objects(scene: Scene, ids: np.ndarray) -> dict[str, Any]:
    return {
        str(number): {
            'category': thing.shape,
            'frames': [name for name, frame in zip(NAMES, ids, strict=True) if number in frame],
            'colour': thing.colour,
            'motion': thing.motion,
        }
        for number, thing in enumerate(scene.things, start=1)
    }


def _only(said: dict[str, Any], kind: str) -> dict[str, Any]:
    """Videos with the expressions of one kind."""
    return {
        video: {
            **entry,
            'expressions': {k: e for k, e in entry['expressions'].items() if e['kind'] == kind},
        }
        for video, entry in said.items()
    }


def _write_json(path: Path, videos: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({'videos': videos}))


def _vocabulary() -> list[str]:
    """Words of the sentences in the order of BERT's file."""
    words = ('the', 'one', 'that', *COLOURS, *SHAPES, *' '.join(MOTIONS).split())
    return [*SPECIAL, *dict.fromkeys(words)]
