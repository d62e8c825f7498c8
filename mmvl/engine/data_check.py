"""Reports on the data that a config names: what is wrong with it, and what is in it.

A dataset class takes part by a class method ``check(images: bool, **config) -> Report``, where
``config`` is its part of a config without ``type`` and ``pipeline``.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from mmvl.registry import DATASETS

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
SHOWN = 5
RANKED = 4


class DataCheckError(ValueError):
    """A config names no dataset that can be checked."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with, or worth knowing about, the data.

    Attributes:
        kind: the same words for the same problem, such as 'missing image'.
        file: the file that has to be looked at.
        where: entry and field in an annotation file; empty for an image.
        detail: what is there.
        is_error: whether training or testing would refuse, drop or misread it.
    """

    kind: str
    file: str
    where: str
    detail: str
    is_error: bool = True


@dataclass
class Report:
    """What a check found.

    Attributes:
        file: the annotation file.
        counts: name -> number, of images and the like.
        classes: group, such as 'verbs' -> name of the class -> number of examples.
        problems: errors and notes, in the order of the data.
    """

    file: str
    counts: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def errors(self) -> int:
        """Number of problems that are errors."""
        return sum(problem.is_error for problem in self.problems)

    def as_text(self, shown: int | None = SHOWN) -> str:
        """Counts, classes and problems as a table; of each kind the first ``shown``, or all."""
        lines = [f'{name:<28}{count:>9,}' for name, count in self.counts.items()]
        for group, numbers in self.classes.items():
            lines += _class_lines(group, numbers)
        if not self.problems:
            return '\n'.join([*lines, 'nothing wrong'])
        kinds = Counter((not p.is_error, p.kind) for p in self.problems)
        for (is_note, kind), count in sorted(kinds.items()):
            lines.append(f'{"note " if is_note else "ERROR"} {kind:<30}{count:>9,}')
            members = [p for p in self.problems if (not p.is_error, p.kind) == (is_note, kind)]
            for p in members[:shown]:
                file = '' if p.file == self.file else p.file
                lines.append(f'    {": ".join(filter(None, [file, p.where, p.detail]))}')
            if shown is not None and count > shown:
                lines.append(f'    ... and {count - shown:,} more (--all, or --json FILE)')
        return '\n'.join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Everything, in plain types."""
        return asdict(self)


def _class_lines(group: str, numbers: dict[str, int]) -> Iterator[str]:
    ranked = sorted(numbers.items(), key=lambda item: -item[1])
    present = [item for item in ranked if item[1]]
    yield f'{group}: {len(present)} of {len(numbers)} present'
    parts = {'most': present[:RANKED], 'fewest': present[RANKED:][-RANKED:]}
    for name, items in parts.items():
        if items:
            yield f'    {name:<8}' + ', '.join(f'{key} {count:,}' for key, count in items)


def check_config(config: dict[str, Any], images: bool = True) -> list[dict[str, Any]]:
    """Check every distinct dataset of a config's three data loaders.

    Args:
        config: with some of ``train_dataloader``, ``val_dataloader``, ``test_dataloader``.
        images: also look for the image files and decode them.

    Returns:
        One dict a dataset: ``used_by`` (list of str, the loaders), ``type`` (str) and ``report``
        (:class:`Report`).

    Raises:
        DataCheckError: there is no dataset, or its class has no check.
    """
    found: list[tuple[dict[str, Any], list[str]]] = []
    for loader in LOADERS:
        for dataset in _leaves((config.get(loader) or {}).get('dataset')):
            part = {key: value for key, value in dataset.items() if key != 'pipeline'}
            known = next((users for other, users in found if other == part), None)
            if known is None:
                found.append((part, [loader]))
            elif loader not in known:
                known.append(loader)
    if not found:
        raise DataCheckError(
            'the config names no dataset: it has none of '
            f'{", ".join(LOADERS)}.\nWhat to do: check a config to train or test with.'
        )
    return [_checked(dataset, users, images) for dataset, users in found]


def _checked(dataset: dict[str, Any], users: list[str], images: bool) -> dict[str, Any]:
    arguments = dict(dataset)
    kind = arguments.pop('type')
    cls = DATASETS.get(kind) if isinstance(kind, str) else kind
    if not hasattr(cls, 'check'):
        raise DataCheckError(
            f'{", ".join(users)}: the dataset {cls.__name__} cannot be checked.\n'
            'What to do: give the class a class method check(images, **config) -> Report.'
        )
    report = cls.check(images=images, **arguments)
    return {'used_by': users, 'type': cls.__name__, 'report': report}


def _leaves(dataset: Any) -> Iterator[dict[str, Any]]:
    """The datasets inside wrappers, which keep theirs as ``dataset`` or ``datasets``."""
    if not isinstance(dataset, dict):
        return
    inner = [dataset['dataset']] if 'dataset' in dataset else dataset.get('datasets')
    if inner is None:
        yield dataset
        return
    for each in inner:
        yield from _leaves(each)
