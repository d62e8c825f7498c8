"""From verb scores of queries to the triplets of an image.

Letters in shapes: B images, Q queries, V = 117 verbs, N pairs, K kept triplets.
"""

from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from .structures import HOIPairs
from .vocabulary import VALID


class PairNMSOptions(TypedDict, total=False):
    """Keyword arguments of :func:`pair_nms` as a config gives them."""

    threshold: float
    alpha: float
    beta: float


def pair_nms(
    subject_boxes: Tensor,
    object_boxes: Tensor,
    scores: Tensor,
    triplets: Tensor,
    threshold: float = 0.7,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> Tensor:
    """Drop pairs that repeat a better-scored pair of the same triplet.

    Runs on the host; memory grows with N squared.

    Args:
        subject_boxes: (N, 4) float32, xyxy, pixels of the original image.
        object_boxes: (N, 4) float32, same frame.
        scores: (N,) float32 in 0-1.
        triplets: (N,) int64, equal for pairs that may suppress each other.
        threshold: a pair goes when IoU_subject**alpha * IoU_object**beta exceeds it.
        alpha: exponent of the subjects' IoU.
        beta: exponent of the objects' IoU.

    Returns:
        (K,) int64 indices of the pairs that stay, best first. Equal scores: triplets in the order
        of their first appearance, inside a triplet the later pair first.

    Source: CDN (Zhang et al. 2021), released evaluation; IoU counts pixels (+1), ties reversed.
    """
    subjects, objects = (boxes.detach().cpu().numpy() for boxes in (subject_boxes, object_boxes))
    score = scores.detach().cpu().numpy()
    kept = _pair_nms(subjects, objects, score, triplets.cpu().numpy(), threshold, alpha, beta)
    return torch.from_numpy(kept)


def _pair_nms(
    subjects: np.ndarray,
    objects: np.ndarray,
    scores: np.ndarray,
    triplets: np.ndarray,
    threshold: float = 0.7,
    alpha: float = 1.0,
    beta: float = 0.5,
) -> np.ndarray:
    _, first, group = np.unique(triplets, return_index=True, return_inverse=True)
    order = np.argsort(scores, kind='stable')[::-1]
    order = order[np.argsort(first[group[order]], kind='stable')]
    group = group[order]
    better, worse = np.nonzero(np.triu(group[:, None] == group[None, :], k=1))
    i, j = order[better], order[worse]
    subject_iou, object_iou = _pixel_iou(subjects, i, j), _pixel_iou(objects, i, j)
    overlap = np.power(subject_iou, alpha) * np.power(object_iou, beta)
    # Not "overlap > threshold": a NaN of a malformed box suppresses, as it does officially.
    suppresses = ~(overlap <= threshold)
    kept = order[_greedy(better[suppresses], worse[suppresses], len(order))]
    return kept[np.argsort(-scores[kept], kind='stable')]


def _greedy(better: np.ndarray, worse: np.ndarray, size: int) -> np.ndarray:
    """Mask (size,) of the pairs that greedy suppression along better -> worse keeps.

    Iterates "kept when no kept better pair suppresses me" to its fixed point, which is unique
    because every edge goes from a lower to a higher position: as many rounds as the longest chain
    of suppressions, not as many as there are pairs.
    """
    keep = np.ones(size, dtype=bool)
    while True:
        update = np.ones(size, dtype=bool)
        update[worse[keep[better]]] = False
        if np.array_equal(update, keep):
            return keep
        keep = update


def _pixel_iou(boxes: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = np.ascontiguousarray(boxes.T)
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    width = np.minimum(x2[i], x2[j]) - np.maximum(x1[i], x1[j]) + 1
    height = np.minimum(y2[i], y2[j]) - np.maximum(y1[i], y1[j]) + 1
    inter = np.maximum(0.0, width) * np.maximum(0.0, height)
    with np.errstate(divide='ignore', invalid='ignore'):
        return inter / (areas[i] + areas[j] - inter)


def select_triplets(
    verb_scores: Tensor,
    object_labels: Tensor,
    subject_boxes: Tensor,
    object_boxes: Tensor,
    max_per_img: int = 100,
    nms: PairNMSOptions | None = None,
) -> list[HOIPairs]:
    """Choose the best triplets of every image of a batch.

    Verb-object pairs outside the 600 interactions score zero; the ``max_per_img`` best of the
    Q * V scores of an image are cut out, equal scores in the order (query, verb); pair NMS comes
    after the cut. What is left of the impossible pairs (images with very few queries) is dropped.
    Tensors may live on any device; there is one copy to the host for the whole batch.

    Args:
        verb_scores: (B, Q, V) float, not negative: verb probability times object probability.
        object_labels: (B, Q) int64, COCO-80.
        subject_boxes: (B, Q, 4) float32, xyxy, pixels of the original images.
        object_boxes: (B, Q, 4) float32, same frame.
        max_per_img: triplets that survive the cut.
        nms: arguments of :func:`pair_nms` (an empty dict for its defaults), None for no NMS.

    Returns:
        B :class:`HOIPairs` on the host, best first.

    Source: QPIC (Tamura et al. 2021) and CDN, released evaluation.
    """
    valid = torch.from_numpy(VALID.T).to(verb_scores.device)
    scores = (verb_scores.detach().float() * valid[object_labels]).flatten(1)
    top, chosen = _stable_topk(scores, min(max_per_img, scores.shape[1]))
    query, verb = chosen // verb_scores.shape[2], chosen % verb_scores.shape[2]
    corners = torch.cat((subject_boxes, object_boxes), dim=-1).detach().float()
    corners = corners.gather(1, query[..., None].expand(-1, -1, 8))
    labels = object_labels.gather(1, query)
    # One float32 block, so that the batch crosses to the host in one copy; ids stay exact.
    block = torch.cat((corners, torch.stack((top, labels, verb), dim=-1)), dim=-1).cpu().numpy()
    return [_as_pairs(image, verb_scores.shape[2], nms) for image in block]


def _stable_topk(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of every row of non-negative float32 (B, L), equal scores by ascending index.

    A non-negative float orders as its bits do, so (bits, inverted index) in one int64 is a key
    without ties.
    """
    position = torch.arange(scores.shape[1], 0, -1, device=scores.device)
    keys = (scores.contiguous().view(torch.int32).long() << 32) | position
    chosen = keys.topk(k, dim=1).indices
    return scores.gather(1, chosen), chosen


def _as_pairs(block: np.ndarray, num_verbs: int, nms: PairNMSOptions | None) -> HOIPairs:
    labels, verbs = block[:, 9].astype(np.int64), block[:, 10].astype(np.int64)
    kept = np.arange(len(block))
    if nms is not None:
        triplets = labels * num_verbs + verbs
        kept = _pair_nms(block[:, :4], block[:, 4:8], block[:, 8], triplets, **nms)
    kept = kept[VALID[verbs[kept], labels[kept]]]
    block = block[kept]
    return HOIPairs(
        subject_boxes=torch.from_numpy(block[:, :4].copy()),
        object_boxes=torch.from_numpy(block[:, 4:8].copy()),
        object_labels=torch.from_numpy(labels[kept]),
        verbs=torch.from_numpy(verbs[kept]),
        scores=torch.from_numpy(block[:, 8].copy()),
    )
