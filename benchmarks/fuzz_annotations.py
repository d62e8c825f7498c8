"""Damaged annotation files: does the HICO-DET reader ever fail in another way than its own?

    python benchmarks/fuzz_annotations.py [--count 100000] [--seed 0]
    python benchmarks/fuzz_annotations.py --case 1234 --keep DIR

Takes small valid files in the list form, the hicodet form and as pickles, damages their values or
their bytes, and reads each. Good outcomes are a result in the promised form, AnnotationError,
PickleError and FileNotFoundError; everything else is a crash and is printed with its case. A case
is a pure function of seed and number; ``--keep`` writes the file of one case into a folder.
"""

import argparse
import collections
import copy
import json
import pickle
import random
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mmvl.engine.pickles import PickleError, read_pickle
from mmvl.hoi.datasets import AnnotationError, read_annotations
from mmvl.hoi.vocabulary import OBJECTS, VERBS

EXPECTED = (AnnotationError, PickleError, FileNotFoundError)
# Stand for what json cannot write; replaced in its text.
RAW = {
    '@deep': b'[' * 5000 + b']' * 5000,
    '@unclosed': b'[' * 200_000,
    '@digits': b'9' * 5000,
    '@exponent': b'1e999999',
    '@negative': b'-Infinity',
    '@surrogate': b'"\\ud800"',
}
ODD: tuple[Any, ...] = (
    *(None, True, False, '', 'x', '1', ' 7\n', '\x00', '1e400', 'é' * 300, [], {}, [None], [[]]),
    *(0, -1, 1, 90, 117, 118, 2**31, 2**63 - 1, 2**63, -(2**70), 10**30, 10**300),
    *(0.5, -0.0, 1e308, -1e308, 1e39, float('nan'), float('inf')),
    *({'bbox': 1}, {'x': [1, 2]}, [1, 2, 3, 4], ['1', '2', '3', '4'], [True] * 4),
)


def list_form() -> list[dict[str, Any]]:
    """Two images in the list form."""
    return [
        {
            'file_name': f'{name}.jpg',
            'annotations': [
                {'bbox': [10, 20, 60, 90.5], 'category_id': 1},
                {'bbox': [5, 50, 80, 99], 'category_id': '18'},
            ],
            'hoi_annotation': [
                {'subject_id': 0, 'object_id': 1, 'category_id': verb, 'hoi_category_id': 1}
                for verb in verbs
            ],
        }
        for name, verbs in (('a', (77, 37)), ('b', ()))
    ]


def pair_form() -> dict[str, Any]:
    """One image in the hicodet form."""
    pairs = {
        'boxes_h': [[11, 21, 60, 90]] * 2,
        'boxes_o': [[6, 51, 80, 99]] * 2,
        'object': [3, 3],
        'verb': [76, 36],
        'hoi': [0, 0],
    }
    return {
        'annotation': [pairs, {key: [] for key in pairs}],
        'filenames': ['a.jpg', 'b.jpg'],
        'empty': [1],
        'objects': list(OBJECTS),
        'verbs': list(VERBS),
    }


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a nested value."""
    found, waiting = [], [value]
    while waiting:
        container = waiting.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in list(keys):
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])
    return found


def damage_value(rng: random.Random, root: list, odd: tuple) -> None:
    """Replace, remove, rename, double or move one value, in place; ``root`` holds the whole."""
    container, key = rng.choice(places(root))
    action = rng.randrange(8)
    if action < 4 or container is root:
        container[key] = copy.deepcopy(rng.choice(odd))
    elif action == 4:
        del container[key]
    elif action == 5:
        other, name = rng.choice(places(root))
        container[key] = copy.deepcopy(other[name])
    elif isinstance(container, list):
        container[key:key] = [copy.deepcopy(container[key])] * rng.choice((1, 2, 50))
    else:
        container[rng.choice(('bbox', 'file_name', 'x', str(key) + ' '))] = container.pop(key)


def damage_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut, insert, remove or double bytes."""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 4, 20, 200)))
    action = rng.randrange(6)
    if action == 0:
        return data[:start]
    if action == 1:
        return data[:start] + rng.randbytes(rng.choice((1, 2, 8))) + data[start:]
    if action == 2:
        return data[:start] + data[end:]
    if action == 3:
        return data[:start] + data[start:end] * rng.choice((2, 30)) + data[end:]
    flipped = bytearray(data or b'\n')
    for _ in range(rng.choice((1, 1, 2, 5))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def make_case(seed: int, number: int) -> tuple[str, bytes]:
    """Name and contents of one damaged file."""
    rng = random.Random(f'{seed} {number}')
    form = ('list.json', 'pairs.json', 'list.pkl', 'pairs.pkl', 'alone.p')[number % 5]
    root = [pair_form() if form.startswith('pairs') else list_form()]
    is_json = form.endswith('.json')
    if form == 'alone.p':
        root[0].append({'array': np.arange(6.0), 'id': np.int64(3), 'set': {1, 'x'}, 'raw': b'xy'})
        root[0].append(np.array([['dog', 'cat']]))
    # both kinds of damage can meet, and a few files stay whole
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        damage_value(rng, root, (*ODD, *RAW) if is_json else ODD)
    if is_json:
        data = json.dumps(root[0] if root else None).encode()
        for name, raw in RAW.items():
            data = data.replace(f'"{name}"'.encode(), raw)
    else:
        protocol = rng.choice((0, 0, 1, 2, 2, 3, 4, 4, 5))
        data = pickle.dumps(root[0] if root else None, protocol)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        data = damage_bytes(rng, data)
    return form, data


def read(file: Path) -> str:
    """Read a file; give the kind of the outcome, 'read' or the name of an expected error.

    Raises:
        ValueError: the result is not in the promised form.
    """
    try:
        if file.suffix == '.p':
            # what is read can be walked and written
            json.dumps(read_pickle(file, arrays=True), default=str, skipkeys=True)
            return 'read'
        images = read_annotations(str(file))
    except EXPECTED as error:
        if len(str(error).splitlines()) > 3:
            raise ValueError(f'a message of {len(str(error).splitlines())} lines') from error
        return type(error).__name__
    for image in images:
        boxes, labels, hois = image['boxes'], image['labels'], image['hois']
        form = (type(image['file_name']), boxes.dtype, boxes.shape, labels.dtype, hois.dtype)
        wanted = (str, np.float32, (len(labels), 4), np.int64, np.int64)
        if form != wanted or not np.isfinite(boxes).all() or hois.shape[1:] != (3,):
            raise ValueError(f'not the promised form: {form}, finite {np.isfinite(boxes).all()}')
    return 'read'


def main() -> None:
    """Read the damaged files and print how often each outcome came."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--count', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--case', type=int, help='only this one')
    parser.add_argument('--keep', metavar='DIR', type=Path, help='write the file there')
    args = parser.parse_args()
    # a warning of numpy (overflow in a cast) is a result that nobody promised
    warnings.simplefilter('error', RuntimeWarning)
    numbers = range(args.count) if args.case is None else [args.case]
    outcomes, crashes = collections.Counter(), collections.Counter()
    began, slowest = time.monotonic(), (0.0, 0)
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            form, data = make_case(args.seed, number)
            file = (args.keep or Path(folder)) / form
            file.write_bytes(data)
            start = time.monotonic()
            try:
                outcomes[f'{form}: {read(file)}'] += 1
            except Exception as error:
                text = ' '.join(str(error).split()).replace(str(file), form)
                kind = re.sub(r'\d+', 'N', f'{type(error).__name__}: {text[:90]}')
                crashes[kind] += 1
                if crashes[kind] <= 2:
                    sys.stdout.write(f'CRASH in case {number} ({form}): {kind}\n')
            slowest = max(slowest, (time.monotonic() - start, number))
    report = {
        'files': len(numbers),
        'seed': args.seed,
        'crashes': crashes.total(),
        'kinds_of_crash': dict(crashes.most_common()),
        'outcomes': dict(sorted(outcomes.items())),
        'seconds': round(time.monotonic() - began, 1),
        'slowest': {'seconds': round(slowest[0], 3), 'case': slowest[1]},
    }
    sys.stdout.write(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
