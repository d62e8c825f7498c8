"""EoID's parts where no golden file looks: options, teacher, conversion, training, batches."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from safetensors.torch import load_file

from mmvl.hoi.eoid.convert import convert_detr, convert_eoid, convert_file
from mmvl.hoi.eoid.matching import Comparison, TwoStageMatcher
from mmvl.hoi.eoid.teacher import (
    CachedTeacher,
    OnlineTeacher,
    cache_from_config,
    crop_union,
    soft_verb_labels,
)
from mmvl.hoi.structures import HOIDataSample, HOIPairs
from mmvl.hoi.toy import TOY_UC, write_world
from mmvl.hoi.vocabulary import HOI_INDEX, NO_INTERACTION, OBJECTS, VERBS
from mmvl.registry import DATASETS, MODELS

CLIP = {
    'type': 'CLIP',
    'model': {
        'embed_dim': 16,
        'vision_cfg': {'image_size': 32, 'layers': 1, 'width': 64, 'patch_size': 16},
        'text_cfg': {
            'context_length': 16,
            'vocab_size': 49408,
            'width': 64,
            'heads': 1,
            'layers': 1,
        },
    },
}


def tiny_model(**changes: Any) -> torch.nn.Module:
    """EoID on a backbone of two stages; a second builds hundreds."""
    config = {
        'type': 'EoID',
        'backbone': {
            'type': 'mmdet.ResNet',
            'depth': 18,
            'base_channels': 8,
            'stem_channels': 8,
            'num_stages': 3,
            'strides': (1, 2, 2),
            'dilations': (1, 1, 1),
            'out_indices': (2,),
            'norm_eval': True,
        },
        'in_channels': 32,
        'data_preprocessor': {
            'type': 'ImgDataPreprocessor',
            'mean': [123.675, 116.28, 103.53],
            'std': [58.395, 57.12, 57.375],
        },
        'num_queries': 8,
        'embed_dims': 32,
        'num_heads': 2,
        'ffn_dims': 32,
        'encoder_layers': 1,
        'decoder_layers': 2,
        'dropout': 0.0,
        'nms': {'threshold': 0.7},
        **changes,
    }
    return MODELS.build(config)


@pytest.fixture(scope='module')
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('world')
    write_world(folder, seed=0, num_train=8, num_test=4)
    return folder


def dataset_config(world: Path, **targets: Any) -> dict[str, Any]:
    return {
        'type': 'HICODet',
        'data_root': str(world),
        'ann_file': 'annotations/trainval_hico.json',
        'data_prefix': {'img': 'images/train2015'},
        'pipeline': [
            {'type': 'LoadHOIImage', 'keep_original': True},
            {'type': 'ClipBoxes'},
            {'type': 'RandomFlipPairs', 'prob': 0.5},
            {'type': 'BuildPairTargets', 'unseen': list(TOY_UC), 'hide': 'combination', **targets},
            {'type': 'PackHOIInputs'},
        ],
    }


@pytest.fixture
def batch(world: Path) -> dict[str, Any]:
    dataset = DATASETS.build(dataset_config(world))
    return pseudo_collate([dataset[i] for i in range(4)])


# the teacher


def test_soft_labels_are_a_distribution_over_the_verbs_of_the_object() -> None:
    objects = torch.tensor([OBJECTS.index('horse'), OBJECTS.index('umbrella')])
    logits = torch.randn(2, 600) * 3
    labels = soft_verb_labels(logits, objects)
    torch.testing.assert_close(labels.sum(1), torch.ones(2))
    assert (labels[:, NO_INTERACTION] == 0).all()
    invalid = torch.from_numpy(HOI_INDEX[:, objects.numpy()].T < 0)
    assert (labels[invalid] == 0).all()
    ride = VERBS.index('ride')
    ids = [i for i in HOI_INDEX[:, objects[0]] if i >= 0]
    ids.remove(HOI_INDEX[NO_INTERACTION, objects[0]])
    expected = logits[0, HOI_INDEX[ride, objects[0]]].exp() / logits[0, ids].exp().sum()
    assert labels[0, ride].item() == pytest.approx(expected.item(), rel=1e-5)


def test_union_crop_is_centred_on_black() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    wide = np.asarray(crop_union(image, np.array([10.4, 10.0, 30.0, 20.0])))
    assert wide.shape == (20, 20, 3)
    assert (wide[5:15] == 200).all() and (wide[:5] == 0).all() and (wide[15:] == 0).all()
    assert crop_union(image, np.array([5.0, 5.0, 5.0, 9.0])).size == (4, 4)


def test_cached_teacher_equals_the_online_one(world: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    weights = tmp_path / 'clip.pt'
    torch.save(MODELS.build(CLIP).network.state_dict(), weights)
    clip = {**CLIP, 'weights': str(weights)}
    config = Config(
        {
            'model': {'teacher': {'type': 'OnlineTeacher', 'clip': clip}},
            'train_dataloader': {'dataset': dataset_config(world)},
        }
    )
    folder = tmp_path / 'cache'
    cache_from_config(config, folder)
    dataset = DATASETS.build(dataset_config(world))
    samples = [dataset[i]['data_samples'] for i in range(8)]
    pairs = [torch.arange(len(sample.gt_pairs.potential)).flip(0) for sample in samples]
    online = OnlineTeacher(clip).soft_labels(samples)(pairs)
    cached = CachedTeacher(str(folder)).soft_labels(samples)(pairs)
    assert sum(len(labels) for labels in online) > 10
    for first, second in zip(online, cached, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=1e-6)

    cache_from_config(config, folder)  # finished shards are kept
    torch.save(MODELS.build(CLIP).network.state_dict(), weights)
    with pytest.raises(ValueError, match='scores of another teacher'):
        cache_from_config(config, folder)


def test_missing_cache_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='mmvl cache eoid CONFIG'):
        CachedTeacher(str(tmp_path)).prepare()


def test_online_teacher_asks_for_the_original_image(batch: dict[str, Any]) -> None:
    sample = batch['data_samples'][0]
    del sample.ori_img
    with pytest.raises(ValueError, match='keep_original=True'):
        OnlineTeacher(CLIP).logits([(sample, torch.tensor([0]))])


def test_distillation_fills_only_distillable_verbs(world: Path) -> None:
    ride = [int(i) for i in HOI_INDEX[VERBS.index('ride')] if i >= 0]
    dataset = DATASETS.build(dataset_config(world, unseen=ride, hide='verb'))
    sample = dataset[0]['data_samples']
    pairs = torch.arange(len(sample.gt_pairs.potential))
    labels = OnlineTeacher(CLIP).soft_labels([sample])([pairs])[0]
    others = [v for v in range(len(VERBS)) if v != VERBS.index('ride')]
    assert (labels[:, others] == 0).all()


# matching


def test_exact_filter_asks_for_the_overlap_of_the_match_itself() -> None:
    # query 0 overlaps pair 1 and query 1 overlaps pair 0, but the cost assigns 0-0 and 1-1
    comparison = Comparison(
        cost=torch.tensor([[0.0, 5.0], [5.0, 0.0]]),
        overlap=torch.tensor([[0.1, 0.9], [0.9, 0.1]]),
        verbs=torch.rand(2, 3),
        interactive=torch.tensor([0.9, 0.8]),
    )
    arguments = (comparison, torch.zeros(2, 3), torch.ones(2, dtype=torch.bool), torch.ones(3))
    official = TwoStageMatcher(iou_filter='official').match(*arguments)
    assert official.potential_pairs.tolist() == [0, 1]
    assert TwoStageMatcher(iou_filter='exact').match(*arguments).potential_pairs.tolist() == []


def test_potential_pairs_are_cut_to_the_surest() -> None:
    comparison = Comparison(
        cost=1 - torch.eye(5),
        overlap=torch.eye(5),
        verbs=torch.rand(5, 3),
        interactive=torch.tensor([0.6, 0.9, 0.4, 0.8, 0.7]),
    )
    potential = torch.tensor([False, True, True, True, True])
    match = TwoStageMatcher(topk=2).match(comparison, torch.zeros(5, 3), potential, torch.ones(3))
    assert match.pairs.tolist() == [0, 1, 3]
    comparison.interactive = None
    match = TwoStageMatcher().match(comparison, torch.zeros(5, 3), potential, torch.ones(3))
    assert match.pairs.tolist() == [0]


# the model


def test_training_step_lowers_the_loss(batch: dict[str, Any]) -> None:
    model = tiny_model(teacher={'type': 'OnlineTeacher', 'clip': CLIP})
    data = model.data_preprocessor(batch, True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(6):
        loss = sum(model(**data, mode='loss').values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_losses_without_any_pair_are_finite_and_reach_every_parameter(
    batch: dict[str, Any],
) -> None:
    model = tiny_model(teacher={'type': 'OnlineTeacher', 'clip': CLIP})
    for sample in batch['data_samples']:
        sample.gt_pairs = sample.gt_pairs[torch.zeros(len(sample.gt_pairs.potential)).bool()]
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert unused == []


def test_batch_of_one_equals_batch_of_many() -> None:
    model = tiny_model().eval()
    images = torch.randint(0, 255, (3, 3, 64, 96)).byte()

    def predict(chosen: list[int]) -> list[HOIPairs]:
        size = (64, 96)
        samples = [HOIDataSample(metainfo={'img_shape': size, 'ori_shape': size}) for _ in chosen]
        data = {'inputs': [images[i] for i in chosen], 'data_samples': samples}
        return [sample.pred_pairs for sample in model.val_step(data)]

    together = predict([0, 1, 2])
    for i in range(3):
        alone = predict([i])[0]
        torch.testing.assert_close(together[i].scores, alone.scores, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(together[i].subject_boxes, alone.subject_boxes)
    assert not torch.equal(together[0].scores, together[1].scores)


def test_predictions_are_in_original_pixels() -> None:
    model = tiny_model().eval()
    with torch.no_grad():
        model.subject_box_head.layers[-1].weight.zero_()
        model.subject_box_head.layers[-1].bias.copy_(torch.tensor([0.5, 0.25, 0.2, 0.1]).logit())
    sample = HOIDataSample(metainfo={'img_shape': (64, 64), 'ori_shape': (100, 200)})
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pairs = model.val_step({'inputs': [image], 'data_samples': [sample]})[0].pred_pairs
    expected = torch.tensor([80.0, 20.0, 120.0, 30.0])
    torch.testing.assert_close(pairs.subject_boxes[0], expected, rtol=1e-4, atol=1e-3)
    assert (pairs.scores[:-1] >= pairs.scores[1:]).all()


def test_teacher_stays_out_of_the_state(batch: dict[str, Any]) -> None:
    plain = tiny_model()
    taught = tiny_model(teacher={'type': 'OnlineTeacher', 'clip': CLIP})
    taught.init_weights()
    assert taught.state_dict().keys() == plain.state_dict().keys()
    assert sum(p.numel() for p in taught.parameters()) == sum(p.numel() for p in plain.parameters())


def test_verb_losses_leave_the_pair_decoder_alone_when_detached(batch: dict[str, Any]) -> None:
    for detach in (True, False):
        model = tiny_model(detach_verbs=detach)
        losses = model(**model.data_preprocessor(batch, True), mode='loss')
        losses['loss_verb_ce'].backward()
        reached = model.pair_decoder.norm.weight.grad is not None
        assert reached is not detach
        assert model.encoder.layers[0].linear1.weight.grad.abs().sum() > 0


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nms has no option \['threshld'\]"):
        tiny_model(nms={'threshld': 0.5})
    with pytest.raises(ValueError, match="'official' or 'exact', not 'paper'"):
        tiny_model(matcher={'iou_filter': 'paper'})
    with pytest.raises(ValueError, match="'focal_bce' or 'bce_bce'"):
        tiny_model(criterion={'verb_loss': 'focal'})
    with pytest.raises(ValueError, match="not 'train'"):
        tiny_model()(torch.zeros(1, 3, 64, 64), mode='train')


# conversion


def detr_state() -> dict[str, torch.Tensor]:
    """A DETR-R50 of little width: the names matter, the widths do not."""
    names = ['backbone.0.body.conv1.weight', 'input_proj.weight', 'transformer.decoder.norm.weight']
    names += [f'transformer.encoder.layers.{i}.linear1.weight' for i in range(6)]
    names += [f'transformer.decoder.layers.{i}.multihead_attn.in_proj_weight' for i in range(6)]
    names += [f'bbox_embed.layers.{i}.weight' for i in range(3)]
    state = {name: torch.randn(3, 2) for name in names}
    state['class_embed.weight'] = torch.arange(92.0)[:, None].repeat(1, 2)
    state['query_embed.weight'] = torch.arange(100.0)[:, None].repeat(1, 2)
    return state


def test_detr_becomes_an_initialisation() -> None:
    state = detr_state()
    ours = convert_detr(state, num_queries=64)
    rows = ours['object_head.weight'][:, 0]
    assert rows[[0, 11, 79, 80]].tolist() == [1, 13, 90, 91] and len(rows) == 81
    assert ours['query_embed.weight'][:, 0].tolist() == list(range(64))
    for head in ('subject_box_head', 'object_box_head'):
        assert torch.equal(ours[f'{head}.layers.1.weight'], state['bbox_embed.layers.1.weight'])
    decoder = {key for key in ours if key.startswith('pair_decoder.layers')}
    assert decoder == {f'pair_decoder.layers.{i}.cross_attn.in_proj_weight' for i in range(3)}
    assert not any(key.startswith('interaction_decoder') for key in ours)


def test_foreign_keys_are_named() -> None:
    with pytest.raises(ValueError, match="'roi_head.fc.weight' is no key"):
        convert_eoid({'roi_head.fc.weight': torch.zeros(1)})


def test_released_file_becomes_safetensors(tmp_path: Path) -> None:
    from argparse import Namespace

    source, target = tmp_path / 'detr.pth', tmp_path / 'ours.safetensors'
    torch.save({'model': detr_state(), 'args': Namespace(lr=1e-4), 'epoch': 3}, source)
    convert_file('detr', source, target)
    ours = load_file(target)
    assert ours['object_head.weight'].shape == (81, 2)

    torch.save({'state_dict': {}}, source)
    with pytest.raises(ValueError, match="no 'model' in this checkpoint"):
        convert_file('eoid', source, target)
