"""EoID's detector: pairs from one decoder, their verbs from a second one behind it.

Letters in shapes: B images, H rows, W columns, L decoder layers, Q queries, D channels, C object
classes, V verbs, S image tokens.
"""

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmvl.hoi.postprocessing import PairNMSOptions, select_triplets
from mmvl.hoi.structures import HOIDataSample
from mmvl.layers import MLP, TransformerDecoder, TransformerEncoder, sine_position_encoding
from mmvl.registry import MODELS, TASK_UTILS
from mmvl.structures import cxcywh_to_xyxy

from .convert import LAYOUTS
from .matching import LayerOutputs


@MODELS.register_module()
class EoID(BaseModel):
    """End-to-end zero-shot HOI detection (Wu et al., AAAI 2023, arXiv 2204.03541).

    The architecture is CDN's (Zhang et al. 2021) with an interactive score; without the score and
    the teacher it *is* CDN, which is how the baseline is configured.

    Args:
        backbone: config of an image backbone; the last of its feature maps is used.
        data_preprocessor: config; normalises and pads on the right and at the bottom.
        in_channels: channels of that feature map.
        num_queries: pairs that are predicted for every image.
        num_objects: object classes without "no object".
        num_verbs: verb classes.
        embed_dims: channels D of the transformer.
        num_heads: attention heads.
        ffn_dims: hidden channels of the feed-forward networks.
        encoder_layers: layers of the encoder.
        decoder_layers: layers L of each of the two decoders.
        dropout: dropout of the transformer.
        detach_verbs: keep the verb losses out of the pair decoder (published: true).
        interactive: predict the interactive score, which the second matching stage needs.
        matcher: config of a :class:`TwoStageMatcher`.
        criterion: config of an :class:`EoIDCriterion`.
        teacher: config of an :class:`OnlineTeacher` or a :class:`CachedTeacher`; None trains
            without distillation. The teacher is no part of the state dict.
        max_per_img: triplets that are kept for every image.
        nms: keyword arguments of :func:`pair_nms`; None keeps repeated pairs.

    Raises:
        ValueError: ``nms`` has an option that :func:`pair_nms` does not know.
    """

    layouts: ClassVar[dict[str, tuple[str, ...]]] = LAYOUTS

    def __init__(
        self,
        backbone: dict[str, Any],
        data_preprocessor: dict[str, Any] | None = None,
        in_channels: int = 2048,
        num_queries: int = 64,
        num_objects: int = 80,
        num_verbs: int = 117,
        embed_dims: int = 256,
        num_heads: int = 8,
        ffn_dims: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 3,
        dropout: float = 0.1,
        detach_verbs: bool = True,
        interactive: bool = True,
        matcher: dict[str, Any] | None = None,
        criterion: dict[str, Any] | None = None,
        teacher: dict[str, Any] | None = None,
        max_per_img: int = 100,
        nms: PairNMSOptions | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.input_proj = nn.Conv2d(in_channels, embed_dims, 1)
        shape = (embed_dims, num_heads, ffn_dims, dropout)
        self.encoder = TransformerEncoder(encoder_layers, *shape)
        self.pair_decoder = TransformerDecoder(decoder_layers, *shape)
        self.interaction_decoder = TransformerDecoder(decoder_layers, *shape)
        for module in (self.encoder, self.pair_decoder, self.interaction_decoder):
            for parameter in module.parameters():
                if parameter.dim() > 1:
                    nn.init.xavier_uniform_(parameter)
        self.query_embed = nn.Embedding(num_queries, embed_dims)
        self.object_head = nn.Linear(embed_dims, num_objects + 1)
        self.verb_head = nn.Linear(embed_dims, num_verbs)
        self.subject_box_head = MLP(embed_dims, embed_dims, 4, 3)
        self.object_box_head = MLP(embed_dims, embed_dims, 4, 3)
        self.interactive_head = nn.Linear(embed_dims, 2) if interactive else None
        self.detach_verbs = detach_verbs
        self.matcher = TASK_UTILS.build({'type': 'TwoStageMatcher', **(matcher or {})})
        self.criterion = TASK_UTILS.build({'type': 'EoIDCriterion', **(criterion or {})})
        self.teacher = None if teacher is None else TASK_UTILS.build(teacher)
        self.max_per_img = max_per_img
        if unknown := set(nms or ()) - PairNMSOptions.__annotations__.keys():
            raise ValueError(f'nms has no option {sorted(unknown)}; see pair_nms')
        self.nms = nms

    def init_weights(self) -> None:
        """Initialise as MMEngine does before training, and build the teacher while it is early."""
        super().init_weights()
        if self.teacher is not None:
            self.teacher.prepare(self.query_embed.weight.device)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[HOIDataSample] | None = None,
        mode: str = 'tensor',
    ) -> LayerOutputs | dict[str, Tensor] | list[HOIDataSample]:
        """Run the model.

        Args:
            inputs: (B, 3, H, W) float32, normalised RGB, padded with zeros.
            data_samples: one for every image; their ``img_shape`` tells the padding. With mode
                'tensor' None means that nothing is padded.
            mode: 'tensor' gives the raw :class:`LayerOutputs`, 'loss' a dict of weighted losses,
                'predict' the data samples with ``pred_pairs``.

        Raises:
            ValueError: the mode is none of the three.
        """
        samples = data_samples or []
        outputs = self._network(inputs, self._valid_mask(inputs, samples))
        if mode == 'tensor':
            return outputs
        if mode == 'loss':
            return self._loss(outputs, samples)
        if mode == 'predict':
            return self._predict(outputs, samples)
        raise ValueError(f"mode is 'tensor', 'loss' or 'predict', not {mode!r}")

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the network; matching and post-processing depend on the data and stay eager."""
        self._network = torch.compile(self._network, *args, **kwargs)  # type: ignore[method-assign]

    @staticmethod
    def _valid_mask(inputs: Tensor, samples: list[HOIDataSample]) -> Tensor | None:
        """(B, H, W) bool, true inside the images; None when nothing is padded."""
        height, width = inputs.shape[-2:]
        shapes = [sample.img_shape[:2] for sample in samples]
        if all(tuple(shape) == (height, width) for shape in shapes):
            return None
        valid = inputs.new_zeros(len(inputs), height, width, dtype=torch.bool)
        for mask, (rows, columns) in zip(valid, shapes, strict=True):
            mask[:rows, :columns] = True
        return valid

    def _network(self, inputs: Tensor, valid: Tensor | None) -> LayerOutputs:
        """Images (B, 3, H, W) and their valid mask (B, H, W) to the outputs of all layers."""
        features = self.input_proj(self.backbone(inputs)[-1])
        size = features.shape[-2:]
        if valid is None:
            inside = features.new_ones(len(features), *size, dtype=torch.bool)
            key_mask = None
        else:
            inside = F.interpolate(valid[None].float(), size=size)[0].bool()
            key_mask = inside.flatten(1)
        pos = sine_position_encoding(inside, features.shape[1] // 2)
        pos = pos.flatten(2).transpose(1, 2).to(features.dtype)

        memory = self.encoder(features.flatten(2).transpose(1, 2), pos, key_mask)
        queries = self.query_embed.weight.expand(len(features), -1, -1)
        pairs = self.pair_decoder(queries, memory, pos, key_mask)
        interaction_queries = pairs[-1].detach() if self.detach_verbs else pairs[-1]
        verbs = self.interaction_decoder(interaction_queries, memory, pos, key_mask)
        return LayerOutputs(
            object_logits=self.object_head(pairs),
            verb_logits=self.verb_head(verbs),
            subject_boxes=self.subject_box_head(pairs).sigmoid(),
            object_boxes=self.object_box_head(pairs).sigmoid(),
            interactive_logits=None
            if self.interactive_head is None
            else self.interactive_head(verbs),
        )

    def _loss(self, outputs: LayerOutputs, samples: list[HOIDataSample]) -> dict[str, Tensor]:
        """Weighted losses of a training batch."""
        soft_labels = None if self.teacher is None else self.teacher.soft_labels(samples)
        targets = [sample.gt_pairs for sample in samples]
        return self.criterion(outputs, targets, self.matcher, soft_labels)

    def _predict(self, outputs: LayerOutputs, samples: list[HOIDataSample]) -> list[HOIDataSample]:
        """Fill in ``pred_pairs``, with boxes in pixels of the original images.

        The score of a triplet is the verb's probability times the object's; the interactive score
        is not part of it (released ``PostProcessHOI``).
        """
        object_scores, object_labels = (
            outputs.object_logits[-1].float().softmax(-1)[..., :-1].max(-1)
        )
        scores = outputs.verb_logits[-1].float().sigmoid() * object_scores[..., None]
        sizes = torch.tensor([sample.ori_shape[:2] for sample in samples]).flip(1).repeat(1, 2)
        sizes = sizes.to(scores)[:, None]
        subjects = cxcywh_to_xyxy(outputs.subject_boxes[-1].float()) * sizes
        objects = cxcywh_to_xyxy(outputs.object_boxes[-1].float()) * sizes
        chosen = select_triplets(
            scores, object_labels, subjects, objects, self.max_per_img, self.nms
        )
        for sample, pairs in zip(samples, chosen, strict=True):
            sample.pred_pairs = pairs
        return samples
