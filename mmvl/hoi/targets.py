"""Which subject-object pairs of an image are trained on, and which of their verbs are known.

Letters in shapes: M annotated interactions, n boxes that remain after augmentation, P pairs,
V = 117 verbs, C = 80 object classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from mmvl.registry import TRANSFORMS
from mmvl.structures import union_boxes, xyxy_to_cxcywh

from .splits import unseen_hois
from .structures import HOIPairs
from .vocabulary import HOI_OBJECT, HOI_VERB, NO_INTERACTION, OBJECTS, VERBS

Hide = Literal['verb', 'combination']
Pairs = Literal['cross', 'all', 'annotated']
PERSON = 0


@dataclass(frozen=True)
class PairTable:
    """The P pairs of an image.

    Attributes:
        subjects: (P,) int64, index among the remaining boxes.
        objects: (P,) int64, likewise.
        verb_labels: (P, V) float32, 1 for an annotated verb that is not hidden.
        potential: (P,) bool, true for a pair without a known verb.
        interactive: (P,) bool, false for a pair annotated with "no_interaction".
    """

    subjects: np.ndarray
    objects: np.ndarray
    verb_labels: np.ndarray
    potential: np.ndarray
    interactive: np.ndarray


@dataclass(frozen=True)
class _Annotated:
    """U annotated pairs in the order in which they first occur.

    ``known`` (U, V) bool are their verbs without the hidden ones; ``idle`` (U,) bool, annotated
    with "no_interaction".
    """

    subjects: np.ndarray
    objects: np.ndarray
    known: np.ndarray
    idle: np.ndarray


def hidden_labels(unseen: np.ndarray, hide: Hide) -> np.ndarray:
    """(V, C) bool, true where the label (verb, object class) is withheld from training.

    Args:
        unseen: (U,) int64 zero-based ids of the held-out interactions.
        hide: 'combination' withholds these, 'verb' their verbs with any object.
    """
    hidden = np.zeros((len(VERBS), len(OBJECTS)), dtype=bool)
    if hide == 'verb':
        hidden[HOI_VERB[unseen]] = True
    else:
        hidden[HOI_VERB[unseen], HOI_OBJECT[unseen]] = True
    return hidden


def build_pairs(
    hois: np.ndarray,
    box_ids: np.ndarray,
    labels: np.ndarray,
    hidden: np.ndarray,
    hide: Hide = 'verb',
    pairs: Pairs = 'cross',
    guard_seen: bool = True,
) -> PairTable:
    """List the training pairs of an image.

    Args:
        hois: (M, 3) int64 subject, object, verb; box indices of the annotation.
        box_ids: (n,) int64, index in the annotation of each remaining box.
        labels: (n,) int64 object classes of the remaining boxes.
        hidden: (V, C) bool, see :func:`hidden_labels`.
        hide: with 'verb' a hidden "no_interaction" no longer makes a pair non-interactive, with
            'combination' it does, as in the official code.
        pairs: 'cross' combines every annotated subject with every annotated object, row by row in
            annotation order; 'all' combines every person with every other box; 'annotated' drops
            the hidden labels and takes the pairs that are left.
        guard_seen: with 'cross', leave the place of a pair that has a known verb to its own entry.
            If false, whichever combination comes first takes it: the annotated pair then loses its
            labels and becomes potential when an earlier subject and a later object give the same
            two boxes.

    Source: EoID (Wu et al. 2023), released datasets ``hico_ua_st_v1`` ('verb', 'cross', guarded),
        ``hico_ua_st_v2`` ('verb', 'all'), ``hico_uc_st`` ('combination', 'cross', not guarded) and
        the baselines without distillation ('annotated').
    """
    hois = _among_remaining(hois, box_ids)
    visible = ~hidden[hois[:, 2], labels[hois[:, 1]]]
    if pairs == 'annotated':
        table = _collect(hois[visible], visible[visible], hide)
        return _table(table, table.subjects, table.objects, np.arange(len(table.subjects)))
    table = _collect(hois, visible, hide)
    if pairs == 'cross':
        return _cross(table, len(labels), guard_seen)
    return _all(table, labels)


def _among_remaining(hois: np.ndarray, box_ids: np.ndarray) -> np.ndarray:
    """Interactions whose two boxes remain, with indices among the remaining boxes."""
    size = max(hois[:, :2].max(initial=-1), box_ids.max(initial=-1)) + 1
    position = np.full(size, -1, dtype=np.int64)
    position[box_ids] = np.arange(len(box_ids))
    moved = np.column_stack((position[hois[:, :2]], hois[:, 2]))
    return moved[(moved[:, :2] >= 0).all(axis=1)]


def _collect(hois: np.ndarray, visible: np.ndarray, hide: Hide) -> _Annotated:
    """Gather the verbs of equal pairs."""
    _, first, inverse = np.unique(hois[:, :2], axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    row = place[inverse.reshape(-1)]
    known = np.zeros((len(order), len(VERBS)), dtype=bool)
    known[row[visible], hois[visible, 2]] = True
    annotated = known
    if hide == 'combination':
        annotated = np.zeros_like(known)
        annotated[row, hois[:, 2]] = True
    subjects, objects, _ = hois[first[order]].T
    return _Annotated(subjects, objects, known, annotated[:, NO_INTERACTION])


def _cross(table: _Annotated, count: int, guard_seen: bool) -> PairTable:
    """Every annotated subject with every annotated object; count boxes remain."""
    u = len(table.subjects)
    subjects, objects = np.repeat(table.subjects, u), np.tile(table.objects, u)
    own = np.eye(u, dtype=bool).reshape(-1)
    keys = subjects * count + objects
    seen = keys[own][table.known.any(axis=1)]
    candidates = np.flatnonzero(own | ~np.isin(keys, seen)) if guard_seen else np.arange(u * u)
    first = np.unique(keys[candidates], return_index=True)[1]
    chosen = candidates[np.sort(first)]
    rows = np.where(own[chosen], chosen // max(u, 1), -1)
    return _table(table, subjects[chosen], objects[chosen], rows)


def _all(table: _Annotated, labels: np.ndarray) -> PairTable:
    """Every remaining person with every other remaining box."""
    count = len(labels)
    persons = np.flatnonzero(labels == PERSON)
    subjects, objects = np.repeat(persons, count), np.tile(np.arange(count), len(persons))
    different = subjects != objects
    subjects, objects = subjects[different], objects[different]
    row_of = np.full((count, count), -1, dtype=np.int64)
    row_of[table.subjects, table.objects] = np.arange(len(table.subjects))
    return _table(table, subjects, objects, row_of[subjects, objects])


def _table(
    table: _Annotated, subjects: np.ndarray, objects: np.ndarray, rows: np.ndarray
) -> PairTable:
    """Look up each pair's annotation; rows (P,) index the annotated pairs, -1 for none."""
    known = np.vstack((table.known, np.zeros((1, len(VERBS)), dtype=bool)))[rows]
    return PairTable(
        subjects=subjects,
        objects=objects,
        verb_labels=known.astype(np.float32),
        potential=~known.any(axis=1),
        interactive=~np.append(table.idle, False)[rows],
    )


@TRANSFORMS.register_module()
class BuildPairTargets(BaseTransform):
    """Add ``gt_pairs``, the :class:`HOIPairs` that a training image is trained on.

    Runs after the last geometric transform. With ``pairs='annotated'`` no verb is distillable;
    otherwise ``distillable_verbs`` are, with ``hide='verb'``, the verbs of the held-out
    interactions, and all verbs with ``hide='combination'``.

    Args:
        unseen: held-out interactions: name of a split, zero-based ids, or None.
        hide: what the training does not see of them, see :func:`hidden_labels`.
        pairs: which pairs are listed, see :func:`build_pairs`.
        guard_seen: see :func:`build_pairs`. The defaults are those of the published UA numbers;
            the published UC numbers used hide='combination', guard_seen=False.

    Raises:
        ValueError: ``hide`` or ``pairs`` is none of the words above.
    """

    def __init__(
        self,
        unseen: str | Sequence[int] | None = None,
        hide: Hide = 'verb',
        pairs: Pairs = 'cross',
        guard_seen: bool = True,
    ) -> None:
        if hide not in ('verb', 'combination'):
            raise ValueError(f"hide must be 'verb' or 'combination', got {hide!r}")
        if pairs not in ('cross', 'all', 'annotated'):
            raise ValueError(f"pairs must be 'cross', 'all' or 'annotated', got {pairs!r}")
        ids = np.zeros(0, dtype=np.int64) if unseen is None else unseen_hois(unseen)
        self.hidden = hidden_labels(ids, hide)
        self.hide = hide
        self.pairs = pairs
        self.guard_seen = guard_seen
        self.distillable = np.full(len(VERBS), pairs != 'annotated' and hide == 'combination')
        if pairs != 'annotated' and hide == 'verb':
            self.distillable[HOI_VERB[ids]] = True

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Build the pairs from ``hois``, the remaining boxes and ``ori_boxes``."""
        labels, box_ids = results['labels'], results['box_ids']
        table = build_pairs(
            results['hois'], box_ids, labels, self.hidden, self.hide, self.pairs, self.guard_seen
        )
        height, width = results['img_shape']
        scale = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = xyxy_to_cxcywh(torch.from_numpy(results['boxes'])) / scale
        originals = torch.from_numpy(results['ori_boxes'][box_ids])
        subjects, objects = torch.from_numpy(table.subjects), torch.from_numpy(table.objects)
        results['gt_pairs'] = HOIPairs(
            metainfo={'distillable_verbs': self.distillable},
            subject_boxes=boxes[subjects],
            object_boxes=boxes[objects],
            object_labels=torch.from_numpy(labels)[objects],
            verb_labels=torch.from_numpy(table.verb_labels),
            potential=torch.from_numpy(table.potential),
            interactive=torch.from_numpy(table.interactive),
            union_boxes=union_boxes(originals[subjects], originals[objects]),
        )
        return results
