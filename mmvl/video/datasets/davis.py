"""Ref-DAVIS17 in the layout of Ref-YouTube-VOS, and its making from the releases.

Source: Khoreva et al., ACCV 2018 (sentences); DAVIS 2017 (frames and masks); order of the sentences
as in the released converter of ReferFormer.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

from mmengine.logging import print_log

from mmvl.engine.annotation_files import existing, fault
from mmvl.registry import DATASETS

from .base import Counts
from .fields import get, load_json
from .youtube_vos import FrameFolders

STREAMS = (
    ('Davis17_annot1.txt', 'utf-8'),
    ('Davis17_annot1_full_video.txt', 'utf-8'),
    ('Davis17_annot2.txt', 'latin-1'),
    ('Davis17_annot2_full_video.txt', 'latin-1'),
)
"""Files and encodings of the four sentences about each object: two annotators, who saw its first
frame or the full video. Sentence i is of stream i modulo 4."""
REPAIRS = {'clasic-car': 'classic-car', 'dog-scale': 'dogs-scale', 'motor-bike': 'motorbike'}
"""Misspelt videos in the sentences -> their names."""
SPLITS = {'train': 'train.txt', 'valid': 'val.txt'}
PUBLISHED = {'train': Counts(None, 60), 'valid': Counts(None, 30)}
RAW_LAYOUT = (
    'DAVIS/{JPEGImages/480p, Annotations_unsupervised/480p, ImageSets/2017, davis_semantics.json} '
    'and davis_text_annotations/Davis17_annot*.txt'
)

Streams = list[dict[str, list[tuple[str, str]]]]


@DATASETS.register_module()
class RefDAVIS17(FrameFolders):
    """Ref-DAVIS17, made by :func:`convert_ref_davis`.

    Args:
        split: 'train' or 'valid'.
        **kwargs: as in :class:`FrameFolders`.
    """

    def __init__(self, *, split: str, **kwargs: Any) -> None:
        if split not in SPLITS:
            raise ValueError(f'Ref-DAVIS17 has no split {split!r}; it has {", ".join(SPLITS)}.')
        super().__init__(name='ref-davis17', split=split, **kwargs)

    def published(self) -> Counts:
        """Give the numbers of the release."""
        return PUBLISHED[self.split]


def convert_ref_davis(
    raw: str | os.PathLike, out: str | os.PathLike, mode: Literal['link', 'copy'] = 'link'
) -> dict[str, int]:
    """Bring the releases of DAVIS 2017 and its sentences into the layout of Ref-YouTube-VOS.

    The released converter moves the frames; here they stay, since the evaluation needs them too.
    The sentences of each object stand together, one of each stream, ordered by the object's number
    as text.

    Args:
        raw: the folder into which the releases were unpacked.
        out: the folder to make; it must not hold a Ref-DAVIS17 yet.
        mode: 'link' the folders of frames and masks, or 'copy' them.

    Returns:
        Split -> number of sentences.

    Raises:
        FileNotFoundError: a file or the folder of a video is missing.
        FileExistsError: there is something in the way.
        AnnotationError: a line of the sentences is malformed; or, in valid, an object lacks one of
            its four sentences or is not in davis_semantics.json. In train, where the streams need
            not stay apart, the log says so, and sentences are paired as far as they go.
    """
    root, target = Path(raw), Path(out)
    if mode not in ('link', 'copy'):
        raise ValueError(f"mode is 'link' or 'copy', not {mode!r}")
    text = root / 'davis_text_annotations'
    streams = [read_sentences(text / name, encoding) for name, encoding in STREAMS]
    semantics = load_json(root / 'DAVIS/davis_semantics.json', dict, RAW_LAYOUT)
    content = {split: _split(root, split, streams, semantics) for split in SPLITS}
    for folder in (target / part / split for split in SPLITS for part in ('', 'meta_expressions')):
        if folder.exists():
            raise FileExistsError(
                f'{folder} is there already.\nWhat to do: remove it, or choose another folder.'
            )
    for split, (meta, said) in content.items():
        for video in said:
            for kind, source in _folders(root, video).items():
                _place(source, target / split / kind / video, mode)
        for file, value in (
            (target / split / 'meta.json', meta),
            (target / 'meta_expressions' / split / 'meta_expressions.json', said),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({'videos': value}))
    return {
        split: sum(len(entry['expressions']) for entry in said.values())
        for split, (_, said) in content.items()
    }


def read_sentences(path: Path, encoding: str) -> dict[str, list[tuple[str, str]]]:
    """Read one stream: video -> (object, sentence), ordered by the object's number as text.

    Raises:
        FileNotFoundError: there is no such file.
        AnnotationError: a line is not ``video object "sentence"``, or the encoding is another.
    """
    try:
        lines = existing(path, RAW_LAYOUT).read_text(encoding=encoding).split('\n')
    except UnicodeDecodeError as error:
        detail = f'not {encoding}: {error.reason} at byte {error.start}'
        raise fault('unreadable annotation', path, '', detail) from None
    found: dict[str, list[tuple[str, str]]] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        quoted = ' '.join(words[2:])
        if len(words) < 3 or not words[1].isdecimal() or len(quoted) < 3:
            detail = f'expected: video object "sentence", got {line[:80]!r}'
            raise fault('malformed entry', path, f'line {number}', detail, 'correct the line')
        # first and last are quotation marks, of whatever kind
        found.setdefault(REPAIRS.get(words[0], words[0]), []).append((words[1], quoted[1:-1]))
    return {video: sorted(said, key=lambda pair: pair[0]) for video, said in found.items()}


def _split(
    root: Path, split: str, streams: Streams, semantics: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Objects and sentences of the videos of a split, in the form of Ref-YouTube-VOS."""
    meta, said = {}, {}
    file = existing(root / 'DAVIS/ImageSets/2017' / SPLITS[split], RAW_LAYOUT)
    for video in file.read_text().split():
        objects = get(semantics, video, dict, root / 'DAVIS/davis_semantics.json', video)
        meta[video] = {'objects': {key: {'category': objects[key]} for key in sorted(objects)}}
        frames = sorted(path.stem for path in _folders(root, video)['JPEGImages'].glob('*.jpg'))
        if not frames:
            raise fault('zero frames', file, video, 'a video without frames')
        expressions = _interleave(video, streams, set(objects), root, split == 'valid')
        said[video] = {'expressions': expressions, 'frames': frames}
    return meta, said


def _interleave(
    video: str, streams: Streams, objects: set[str], root: Path, complete: bool
) -> dict[str, dict[str, str]]:
    per_stream = [stream.get(video, []) for stream in streams]
    ids = [[key for key, _ in sentences] for sentences in per_stream]
    if any(each != ids[0] for each in ids) or not ids[0] or not objects.issuperset(ids[0]):
        detail = f'objects {ids} in the four files, {sorted(objects)} in davis_semantics.json'
        remedy = 'use the four files of one release'
        error = fault('unknown object', root / 'davis_text_annotations', video, detail, remedy)
        if complete:
            raise error
        print_log(str(error), logger='current', level=logging.WARNING)
    rows = [row for rows in zip(*per_stream, strict=False) for row in rows]
    return {str(i): {'exp': text, 'obj_id': key} for i, (key, text) in enumerate(rows)}


def _folders(root: Path, video: str) -> dict[str, Path]:
    folders = {
        'JPEGImages': root / 'DAVIS/JPEGImages/480p' / video,
        # the masks of the other task differ in some videos
        'Annotations': root / 'DAVIS/Annotations_unsupervised/480p' / video,
    }
    for folder in folders.values():
        if not folder.is_dir():
            raise FileNotFoundError(
                f'No such folder: {folder}\nExpected {RAW_LAYOUT} in {root}.\n'
                'What to do: unpack DAVIS-2017-Unsupervised-trainval-480p.zip there.'
            )
    return folders


def _place(source: Path, target: Path, mode: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == 'copy':
        shutil.copytree(source, target)
    else:
        target.symlink_to(source.resolve(), target_is_directory=True)
