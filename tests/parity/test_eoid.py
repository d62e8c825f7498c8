"""EoID against what the released code answered (see ``make_eoid.py``)."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.transforms as transforms
from common import StubCLIP, eoid_case, picture, seeded, seeded_weights
from mmengine.registry import MODELS as ROOT_MODELS
from PIL import Image

from mmvl.hoi.eoid import EoIDCriterion, OnlineTeacher, TwoStageMatcher
from mmvl.hoi.eoid.convert import convert_eoid
from mmvl.hoi.eoid.matching import LayerOutputs
from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.registry import MODELS

GOLDEN = torch.load(Path(__file__).parent / 'data' / 'eoid.pt', weights_only=True)


def as_outputs(predictions: dict[str, torch.Tensor]) -> LayerOutputs:
    return LayerOutputs(
        predictions['pred_obj_logits'],
        predictions['pred_verb_logits'],
        predictions['pred_sub_boxes'],
        predictions['pred_obj_boxes'],
        predictions['pred_is_logits'],
    )


def as_pairs(target: dict[str, torch.Tensor]) -> HOIPairs:
    pairs = HOIPairs(metainfo={'distillable_verbs': target['seen_mask'].bool()})
    pairs.subject_boxes = target['sub_boxes']
    pairs.object_boxes = target['obj_boxes']
    pairs.object_labels = target['obj_labels']
    pairs.verb_labels = target['verb_labels']
    pairs.potential = target['st'].bool()
    pairs.interactive = target['is_mask'].bool()
    pairs.union_boxes = target['union_boxes']
    return pairs


class StubTeacherCLIP(torch.nn.Module):
    """The stub in the clothes of mmvl's CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.stub = StubCLIP()
        self.logit_scale = self.stub.logit_scale
        self._preprocess = transforms.Compose(
            [
                transforms.Resize(32, interpolation=transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(32),
                transforms.ToTensor(),
                transforms.Normalize(
                    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
                ),
            ]
        )

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return self._preprocess(image)

    def encode_image(self, crops: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.stub.encode_image(crops), dim=-1)

    def encode_text(self, phrases: list[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(self.stub.encode_text(len(phrases)), dim=-1)


@pytest.fixture
def stub_teacher() -> Any:
    ROOT_MODELS.register_module(name='StubTeacherCLIP', module=StubTeacherCLIP, force=True)
    return OnlineTeacher({'type': 'StubTeacherCLIP'}, chunk=3)


def test_released_checkpoint_converts_and_agrees() -> None:
    golden = GOLDEN['model']
    model = MODELS.build({'type': 'EoID', 'backbone': {'type': 'FrozenResNet'}}).eval()
    model.load_state_dict(convert_eoid(seeded_weights(golden['shapes'])), strict=True)
    images = [seeded(f'image{i}', (3, *size)) for i, size in enumerate(((96, 128), (64, 160)))]
    batch = torch.zeros(2, 3, 96, 160)
    samples = []
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]] = image
        samples.append(HOIDataSample(metainfo={'img_shape': tuple(image.shape[1:])}))
    with torch.no_grad():
        valid = model._valid_mask(batch, samples)
        outputs = model._network(batch, valid)
    for index, official in enumerate(golden['layers']):
        ours = {
            'pred_obj_logits': outputs.object_logits[index],
            'pred_verb_logits': outputs.verb_logits[index],
            'pred_sub_boxes': outputs.subject_boxes[index],
            'pred_obj_boxes': outputs.object_boxes[index],
            'pred_is_logits': outputs.interactive_logits[index],
        }
        assert official.keys() == ours.keys()
        for name, value in official.items():
            torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-4, msg=name)
    # a comparison of equal queries would prove nothing
    assert outputs.subject_boxes[-1].std(dim=1).min() > 1e-3


def test_matcher_is_identical_on_100_seeds() -> None:
    matcher = TwoStageMatcher(iou_filter='official')
    num_potential = 0
    for seed, golden in enumerate(GOLDEN['matches']):
        predictions, targets = eoid_case(seed)
        outputs = as_outputs(predictions)
        negatives = 1 - targets[0]['seen_mask'].float()
        for image, target in enumerate(targets):
            pairs = as_pairs(target)
            compared = matcher.compare(outputs, image, pairs).layer(2)
            match = matcher.match(compared, pairs.verb_labels, pairs.potential, negatives)
            seen, potential = golden[0][image], golden[1][image]
            assert torch.equal(torch.stack([match.seen_queries, match.seen_pairs]), seen), seed
            found = torch.stack([match.potential_queries, match.potential_pairs])
            assert torch.equal(found, potential), seed
            num_potential += potential.shape[1]
    assert num_potential > 50


@pytest.mark.parametrize('verb_loss', ['focal_bce', 'bce_bce'])
@pytest.mark.parametrize('seed', range(12))
def test_every_loss_term_agrees(verb_loss: str, seed: int, stub_teacher: OnlineTeacher) -> None:
    predictions, targets = eoid_case(seed)
    samples = []
    for i, target in enumerate(targets):
        sample = HOIDataSample(metainfo={'file_name': f'{i}.jpg'})
        sample.gt_pairs = as_pairs(target)
        sample.set_data({'ori_img': picture(10 * seed + i).numpy()})
        samples.append(sample)
    criterion = EoIDCriterion(verb_loss=verb_loss)
    criterion.weights = dict.fromkeys(criterion.weights, 1.0)
    losses = criterion(
        as_outputs(predictions),
        [sample.gt_pairs for sample in samples],
        TwoStageMatcher(),
        stub_teacher.soft_labels(samples),
    )
    golden = GOLDEN['losses'][f'{verb_loss}/{seed}']
    for name, value in golden.items():
        base, _, index = name.rpartition('_')
        ours = losses[f'd{index}.{base}' if index.isdigit() else name]
        assert ours.item() == pytest.approx(value, rel=1e-5, abs=1e-9), name
    assert len(losses) == len(golden)
