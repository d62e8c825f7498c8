"""EoID's two-stage matching of queries to pairs.

Letters in shapes: L decoder layers, B images, Q queries, P pairs of one image, V verbs, C object
classes without "no object", n matched pairs.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmvl.hoi.structures import HOIPairs
from mmvl.registry import TASK_UTILS
from mmvl.structures import cxcywh_to_xyxy, pairwise_generalized_iou, pairwise_iou

TAKEN = 9999.0
"""Cost of a query that the first stage used. Finite: with more potential pairs than free queries
the second stage falls back on used ones, as in the released code."""


@dataclass
class LayerOutputs:
    """What all decoder layers say about a batch.

    Attributes:
        object_logits: (L, B, Q, C + 1).
        verb_logits: (L, B, Q, V).
        subject_boxes: (L, B, Q, 4) cxcywh in 0-1 of the un-padded image.
        object_boxes: (L, B, Q, 4), same frame.
        interactive_logits: (L, B, Q, 2), column 1 = interactive; None without that head.
    """

    object_logits: Tensor
    verb_logits: Tensor
    subject_boxes: Tensor
    object_boxes: Tensor
    interactive_logits: Tensor | None

    def map(self, function: Callable[[Tensor], Tensor]) -> 'LayerOutputs':
        """The same outputs with a function applied to every tensor."""
        present = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: function(v) for k, v in present.items() if v is not None})


@dataclass
class Comparison:
    """How the queries of one image compare with its pairs, before anything is assigned.

    On the CPU. The leading L is there for all decoder layers and gone for one of them.

    Attributes:
        cost: (L, Q, P) cost of object class and boxes.
        overlap: (L, Q, P) the smaller of subject IoU and object IoU.
        verbs: (L, Q, V) verb probabilities.
        interactive: (L, Q) interactive scores; None for a model without that head.
    """

    cost: Tensor
    overlap: Tensor
    verbs: Tensor
    interactive: Tensor | None

    def layer(self, index: int) -> 'Comparison':
        """The comparison of one decoder layer."""
        interactive = None if self.interactive is None else self.interactive[index]
        return Comparison(self.cost[index], self.overlap[index], self.verbs[index], interactive)


@dataclass
class Match:
    """Matched queries and pairs of one image, as aligned (n,) int64 indices on the CPU."""

    seen_queries: Tensor
    seen_pairs: Tensor
    potential_queries: Tensor
    potential_pairs: Tensor

    @property
    def queries(self) -> Tensor:
        """All matched queries, those of seen pairs first."""
        return torch.cat((self.seen_queries, self.potential_queries))

    @property
    def pairs(self) -> Tensor:
        """The pairs of :attr:`queries`."""
        return torch.cat((self.seen_pairs, self.potential_pairs))


@TASK_UTILS.register_module()
class TwoStageMatcher:
    """Match seen pairs first, then the best of the left-over queries to potential pairs.

    Args:
        object_cost: weight of the object class cost.
        verb_cost: weight of the verb cost (first stage only).
        box_cost: weight of the L1 box cost.
        giou_cost: weight of the generalised IoU cost.
        topk: potential pairs that an image keeps at most, by interactive score.
        score_threshold: a potential pair stays when its interactive score exceeds this.
        iou_threshold: overlap that the paper's IoU filter asks of a potential pair.
        iou_filter: 'official' tests a query-pair match as the released code does: it passes when
            the query *or* the pair occurs in any match of sufficient overlap (a side effect of
            numpy's ``in``); the published numbers were made with it. 'exact' asks the overlap of
            the match itself, as the paper says.

    Source: EoID, section 3.3; released code, ``models/matcher.py``.
    """

    def __init__(
        self,
        object_cost: float = 1.0,
        verb_cost: float = 1.0,
        box_cost: float = 2.5,
        giou_cost: float = 1.0,
        topk: int = 3,
        score_threshold: float = 0.5,
        iou_threshold: float = 0.5,
        iou_filter: str = 'official',
    ) -> None:
        if iou_filter not in ('official', 'exact'):
            raise ValueError(f"iou_filter is 'official' or 'exact', not {iou_filter!r}")
        self.object_cost = object_cost
        self.verb_cost = verb_cost
        self.box_cost = box_cost
        self.giou_cost = giou_cost
        self.topk = topk
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.iou_filter = iou_filter

    @torch.no_grad()
    def compare(self, outputs: LayerOutputs, image: int, targets: HOIPairs) -> Comparison:
        """Compare the queries of all layers with the pairs of one image.

        The object part of the box cost vanishes for a pair whose object box is all zero (the
        object is not visible); its GIoU cost then *adds* the subject's, as released.

        Args:
            outputs: predictions of a batch, on the CPU.
            image: which image of the batch.
            targets: its training pairs, on the CPU.
        """
        classes = -outputs.object_logits[:, image].softmax(-1)[..., targets.object_labels]
        visible = (targets.object_boxes != 0).any(1).float()
        l1, giou, iou = [], [], []
        for predicted, annotated in (
            (outputs.subject_boxes[:, image], targets.subject_boxes),
            (outputs.object_boxes[:, image], targets.object_boxes),
        ):
            l1.append(torch.cdist(predicted, annotated.expand(len(predicted), -1, -1), p=1))
            corners = cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(annotated)
            giou.append(-pairwise_generalized_iou(*corners))
            iou.append(pairwise_iou(*corners))
        box_cost = torch.maximum(l1[0], l1[1] * visible)
        giou_cost = torch.maximum(giou[0], giou[1] + giou[0] * (1 - visible))
        interactive = outputs.interactive_logits
        return Comparison(
            cost=self.object_cost * classes + self.box_cost * box_cost + self.giou_cost * giou_cost,
            overlap=torch.minimum(*iou),
            verbs=outputs.verb_logits[:, image].sigmoid(),
            interactive=None if interactive is None else interactive[:, image].softmax(-1)[..., 1],
        )

    @torch.no_grad()
    def match(
        self,
        comparison: Comparison,
        verb_labels: Tensor,
        potential: Tensor,
        negative_verbs: Tensor,
    ) -> Match:
        """Match one decoder layer on one image.

        Args:
            comparison: of one layer.
            verb_labels: (P, V) float32; changes from layer to layer as soft labels come in.
            potential: (P,) bool, pairs without a seen label.
            negative_verbs: (V,) float32, 1 for verbs whose absence counts in the verb cost.

        Returns:
            The match. Without an interactive head every potential pair is left out.
        """
        seen, later = (~potential).nonzero()[:, 0], potential.nonzero()[:, 0]
        cost = comparison.cost[:, seen] + self.verb_cost * _verb_cost(
            comparison.verbs, verb_labels[seen], negative_verbs
        )
        queries, columns = map(torch.from_numpy, linear_sum_assignment(cost.numpy()))
        match = Match(queries, seen[columns], queries[:0], seen[:0])
        if comparison.interactive is not None and len(later):
            match.potential_queries, match.potential_pairs = self._second_stage(
                comparison, comparison.interactive, later, taken=queries
            )
        return match

    def _second_stage(
        self, comparison: Comparison, interactive: Tensor, potential: Tensor, taken: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries and pairs that survive the IoU and the score filter, both (n,) int64."""
        cost = comparison.cost[:, potential]
        cost[taken] = TAKEN
        queries, columns = map(torch.from_numpy, linear_sum_assignment(cost.numpy()))
        close = comparison.overlap[:, potential] >= self.iou_threshold
        if self.iou_filter == 'official':
            keep = close.any(1)[queries] | close.any(0)[columns]
        else:
            keep = close[queries, columns]
        queries, columns = queries[keep], columns[keep]
        scores = interactive[queries]
        if len(queries) > self.topk:
            scores, best = scores.topk(self.topk)
            queries, columns = queries[best], columns[best]
        sure = scores > self.score_threshold
        return queries[sure], potential[columns[sure]]


def _verb_cost(probabilities: Tensor, labels: Tensor, negative_verbs: Tensor) -> Tensor:
    """Verb cost (Q, P) of (Q, V) probabilities against (P, V) labels.

    Source: QPIC (Tamura et al. 2021), equation 5; EoID counts negatives on ``negative_verbs``.
    """
    negatives = (1 - labels) * negative_verbs
    hit = probabilities @ labels.T / (labels.sum(1) + 1e-4)
    rejected = (1 - probabilities) @ negatives.T / (negatives.sum(1) + 1e-4)
    return -(hit + rejected) / 2
