"""What all datasets of referring expressions have in common."""

import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.fileio import join_path
from mmengine.logging import print_log

from mmvl.engine.annotation_files import SEE_CHECK, stop
from mmvl.engine.data_check import Report
from mmvl.engine.images import missing_files
from mmvl.engine.seeded_dataset import SeededDataset
from mmvl.registry import TRANSFORMS

from .check import check_referring, defect
from .fields import AnnotationError, Entry, Handler, Place, fault

Sizes = tuple[int | None, int | None, int | None]
"""Numbers of sentences, referents and images; None where unknown."""


class ReferringDataset(SeededDataset):
    """Images with sentences, each of which refers to one thing in its image.

    There is one sample per sentence. Before the pipeline it holds ``img_path``, ``file_name``,
    ``img_id``, ``ref_id`` (the thing that is referred to), ``sent_id`` (unique in the file),
    ``ann_id`` (-1 where there is none), ``text``, ``dataset``, ``split``, ``box`` (4,) float32
    xyxy in pixels of the image as annotated, ``segmentation`` (polygons or run-length codes,
    undecoded; None without a mask) and ``rng``.

    Sentences without a word and boxes without area are refused in test mode, since an evaluation
    needs all of its truth; in training they are dropped, and the log says how many. Everything
    else that is malformed is refused. Sentences may have any length and script: cutting them is
    up to the tokenizer.

    Where there is a pipeline, all images must exist when the dataset is built.

    Every random transform draws from ``rng``, a generator seeded by (``seed``, ``epoch``, index of
    the sample): an augmentation depends on nothing else. The training loop sets seed and epoch.

    Args:
        name: which dataset, in the words of the subclass.
        split: which part, in the words of the subclass.
        per_ref: one sample per referent, whose sentence is drawn from ``rng``; in training only.
        max_missing: share of the images, in 0-1, that may be missing in training: up to that they
            are dropped and counted in the log. In test mode none may.
        pipeline: transforms, or configs of transforms in the registry of mmvl.
        **kwargs: as in :class:`mmengine.dataset.BaseDataset`: ``ann_file``, ``data_root``,
            ``data_prefix=dict(img=...)``, ``test_mode``, ``indices``, ``serialize_data``, ...

    Raises:
        FileNotFoundError: an annotation file does not exist, or images are missing.
        AnnotationError: an annotation file is damaged, of another form, or not safe to read.
        ValueError: an option is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        split: str,
        per_ref: bool = False,
        max_missing: float = 0.0,
        pipeline: list | tuple = (),
        **kwargs: Any,
    ) -> None:
        if not 0 <= max_missing < 1:
            raise ValueError(
                f'max_missing is a share: need 0 <= max_missing < 1, got {max_missing}.'
            )
        if per_ref and kwargs.get('test_mode'):
            raise ValueError(
                'per_ref=True draws one sentence per referent, an evaluation needs them all.\n'
                'What to do: leave per_ref out in test mode.'
            )
        self.name, self.split, self.per_ref = name, split, per_ref
        self.max_missing = max_missing
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(pipeline=steps, **kwargs)

    @abstractmethod
    def load(self) -> Any:
        """Read the annotation files into memory.

        Raises:
            FileNotFoundError: a file does not exist.
            AnnotationError: a file cannot be read, or is not in the form of this class.
        """

    @abstractmethod
    def entries(self, content: Any, handler: Handler) -> Iterator[Entry]:
        """Give the sentences of the split in the order of the file, and faults to ``handler``."""

    def split_sizes(self, content: Any) -> dict[str, Sizes]:
        """Count sentences, referents and images of each split, where a file holds several."""
        return {}

    def published(self) -> Sizes:
        """Give the published numbers of sentences, referents and images of the split."""
        return None, None, None

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the files; refuse, or drop and count, what cannot be trained on."""
        samples, dropped = [], dict[str, list[Place]]()
        sent_ids = set()
        content = self.load()
        for entry in self.entries(content, stop):
            kind = defect(entry)
            if kind is None and self.test_mode and entry.sample['sent_id'] in sent_ids:
                kind = 'duplicate sentence id'
            if kind is not None:
                if self.test_mode:
                    self._refuse(kind, entry)
                dropped.setdefault(kind, []).append(_fault_place(kind, entry))
                continue
            sent_ids.add(entry.sample['sent_id'])
            img_path = join_path(self.data_prefix['img'] or '', entry.sample['file_name'])
            labels = {'dataset': self.name, 'split': self.split}
            samples.append({'img_path': img_path, **labels, **entry.sample})
        for kind, places in dropped.items():
            total = len(samples) + sum(map(len, dropped.values()))
            self._warn(f'dropped {len(places)} of {total} sentences ({kind}): {_first(places)}')
        if not samples:
            known = ', '.join(self.split_sizes(content)) or 'not named in the file'
            raise AnnotationError(
                f'{self.ann_file}: no sentence is left in split {self.split!r}; splits: {known}.\n'
                f'What to do: check file and split; {SEE_CHECK}.'
            )
        if self.pipeline.transforms:
            samples = self._existing(samples)
        return _by_ref(samples) if self.per_ref else samples

    def _refuse(self, kind: str, entry: Entry) -> None:
        sample = entry.sample
        details = {
            'empty sentence': 'a sentence without a word',
            'box without area': f'the box {sample["box"].tolist()} (x1, y1, x2, y2) has no area',
            'duplicate sentence id': f'an earlier sentence has the number {sample["sent_id"]} too',
        }
        detail = f'{details[kind]}, an evaluation needs all of its truth'
        raise fault(kind, _fault_place(kind, entry), detail)

    def _existing(self, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse missing images, or leave them out where there may be so many."""
        names = {sample['img_path']: sample['file_name'] for sample in samples}
        paths = list(names)
        gone = {paths[i]: names[paths[i]] for i in missing_files(paths)}
        if not gone:
            return samples
        found = f'{len(gone)} of {len(paths)} images are missing'
        if self.test_mode or len(gone) > self.max_missing * len(paths):
            remedy = f'set data_root, and data_prefix=dict(img=...) below it; {SEE_CHECK}'
            if not self.test_mode:
                remedy += '; or allow a share, max_missing=0.01'
            folder = self.data_prefix['img'] or 'the current folder'
            raise FileNotFoundError(
                f'{self.ann_file}: {found} in {folder}: {_first(list(gone.values()))}\n'
                f'What to do: {remedy}.'
            )
        self._warn(f'{found} and are left out: {_first(list(gone.values()))}')
        return [sample for sample in samples if sample['img_path'] not in gone]

    def _warn(self, text: str) -> None:
        print_log(f'{self.ann_file}: {text}', logger='current', level=logging.WARNING)

    def prepare_data(self, idx: int) -> Any:
        """Give the sample its generator, draw its sentence if there are several, and go on."""
        sample = self.get_data_info(idx)
        rng = self.generator(sample)
        if sentences := sample.pop('sentences', None):
            sample['sent_id'], sample['text'] = sentences[rng.integers(len(sentences))]
        sample['rng'] = rng
        return self.pipeline(sample)

    @classmethod
    def check(cls, images: bool = True, **config: Any) -> Report:
        """List all that is wrong with the files of a dataset, which need not be loadable.

        Args:
            images: also look for the image files and decode them.
            **config: as in a config; a pipeline is not needed.
        """
        return check_referring(cls(**{**config, 'pipeline': (), 'lazy_init': True}), images)


def _fault_place(kind: str, entry: Entry) -> Place:
    return entry.box_at if kind == 'box without area' else entry.text_at


def _by_ref(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One sample per referent, with its sentences as (sent_id, text) in ``sentences``."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for sample in samples:
        groups.setdefault((sample['file_name'], sample['ref_id']), []).append(sample)
    return [
        {**group[0], 'sentences': [(s['sent_id'], s['text']) for s in group]}
        for group in groups.values()
    ]


def _first(things: Sequence[object]) -> str:
    return f'{", ".join(map(str, things[:3]))}{", ..." if len(things) > 3 else ""}'
