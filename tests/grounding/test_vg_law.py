"""VG-LAW: sizes, the factored update, what a sentence changes and what it must not change."""

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import nn
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from mmvl.engine import load_checkpoint_file
from mmvl.engine.pickles import PickleError
from mmvl.grounding.vg_law import VGLAW, AdaptiveViTDet, WeightGenerator
from mmvl.grounding.vg_law.convert import (
    convert_bert,
    convert_file,
    convert_released,
    convert_vitdet,
)
from mmvl.grounding.vg_law.generator import low_rank, scaled_both, scaled_input
from mmvl.grounding.vg_law.heads import BoxHead, MaskHead
from mmvl.grounding.vg_law.losses import box_losses, mask_losses
from mmvl.grounding.vg_law.model import mask_to_original, to_original
from mmvl.structures import ReferringDataSample, cxcywh_to_xyxy

CONFIGS = Path(__file__).parents[2] / 'configs' / 'vg_law'
WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] the red blue circle square on left right of'


@pytest.fixture
def vocab(tmp_path: Path) -> str:
    (tmp_path / 'vocab.txt').write_text('\n'.join(WORDS.split()) + '\n')
    return str(tmp_path / 'vocab.txt')


def tiny(vocab: str, **changes) -> VGLAW:
    torch.manual_seed(0)
    text = {
        'type': 'BertText', 'vocab': vocab, 'num_layers': 1, 'hidden_size': 32,
        'num_attention_heads': 2, 'intermediate_size': 32, 'vocab_size': 15,
    }  # fmt: skip
    backbone = {
        'type': 'AdaptiveViTDet', 'image_size': 64, 'patch_size': 8, 'embed_dims': 32, 'depth': 3,
        'num_heads': 2, 'window': 4, 'global_blocks': (2,), 'drop_path_rate': 0.0,
        'pretrain_grid': 8,
    }  # fmt: skip
    config = {'rank': 4, 'generator_heads': 2, **changes}
    return VGLAW(text, backbone, **config).eval()


def lively(model: VGLAW) -> VGLAW:
    """Give the generator weights; it is initialised to change nothing."""
    for each in model.weight_generator.proj:
        nn.init.normal_(each[-1].weight, std=0.3)
    return model


def samples(texts: list[str], side: int = 64) -> list[ReferringDataSample]:
    found = []
    for number, text in enumerate(texts):
        meta = {'text': text, 'square': side, 'pad_offset': (8, 0), 'img_shape': (48, 64)}
        sample = ReferringDataSample(metainfo={**meta, 'ori_shape': (96, 128), 'sent_id': number})
        sample.gt_box = torch.tensor([8.0, 16.0, 40.0, 48.0])
        sample.gt_mask = torch.zeros(side, side, dtype=torch.bool)
        sample.gt_mask[16:48, 8:40] = True
        found.append(sample)
    return found


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_numbers_of_parameters_are_those_of_the_publication():
    config = Config.fromfile(CONFIGS / 'refcoco.py').model
    model = VGLAW(config.text_encoder, config.backbone)
    assert count(model.text_encoder) == 66_364_416
    assert count(model.visual_encoder) == 85_852_160
    assert count(model.weight_generator) == 1_153_728
    assert count(model.box_head) == 98_432 + 263_684
    assert count(model.mask_head) == 1_574_400
    assert count(model) == 155_306_820


def test_at_initialisation_the_sentence_changes_no_weight(vocab):
    adaptive, static = tiny(vocab), tiny(vocab, variant='static')
    static.load_state_dict(
        {k: v for k, v in adaptive.state_dict().items() if not k.startswith('weight_gen')}
    )
    images, batch = torch.randn(2, 3, 64, 64), samples(['the red circle', 'blue square on left'])
    with torch.no_grad():
        ours, theirs = adaptive(images, batch), static(images, batch)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


@pytest.mark.parametrize('window', [0, 4])
def test_the_factored_update_equals_materialised_weights(window):
    """Two samples with weights of their own, in windows and in global attention, also padded."""
    torch.manual_seed(0)
    backbone = AdaptiveViTDet(80, 8, 32, 1, 2, 2, window or 10, (0,) if not window else (), 0.0, 10)
    left, right, core = torch.randn(96, 4), torch.randn(4, 32), torch.randn(2, 4, 4)
    images = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        found = backbone(images, [lambda x, qkv: low_rank(x, qkv, left, core, right)])
        qkv = backbone.blocks[0].attn.qkv
        plain = qkv.weight.clone()
        for i in range(2):
            qkv.weight.copy_(plain + left @ core[i] @ right)
            torch.testing.assert_close(
                found[i], backbone(images[i : i + 1])[0], rtol=1e-4, atol=1e-4
            )


def test_the_other_variants_scale_channels():
    torch.manual_seed(0)
    x, qkv = torch.randn(2, 5, 8), nn.Linear(8, 24)
    scales = torch.rand(2, 3, 8)
    out = scaled_input(x, qkv, scales)
    for i in range(2):
        weight = qkv.weight * scales[i].repeat_interleave(8, 0)
        torch.testing.assert_close(out[i], F.linear(x[i], weight, qkv.bias))
    for sets, rows in ((1, [24]), (2, [16, 8]), (3, [8, 8, 8])):
        values = torch.rand(2, (sets + 3) * 8)
        out = scaled_both(x, qkv, values)
        for i in range(2):
            inputs = values[i, : sets * 8].view(sets, 8).square()
            weight = qkv.weight * inputs.repeat_interleave(torch.tensor(rows), 0)
            expected = F.linear(x[i], weight, qkv.bias) * values[i, sets * 8 :]
            torch.testing.assert_close(out[i], expected)


@pytest.mark.parametrize('variant', WeightGenerator.variants)
def test_variants_start_at_the_static_model_and_learn(variant, vocab):
    model = tiny(vocab, variant=variant)
    images, batch = torch.randn(2, 3, 64, 64), samples(['the red circle', 'blue square on left'])
    with torch.no_grad():
        adapted = model.weight_generator(*model.text_encoder(['red', 'blue']))
        features = model.visual_encoder(images, adapted)
        torch.testing.assert_close(features, model.visual_encoder(images), rtol=1e-5, atol=1e-5)
    sum(model(images, batch, 'loss').values()).backward()
    last = model.weight_generator.proj[0][-1].weight
    assert last.grad.abs().max() > 0


def test_no_such_variant(vocab):
    with pytest.raises(ValueError, match="no variant 'lora'; there are svd, la"):
        tiny(vocab, variant='lora')


def test_a_sentence_changes_the_map_and_its_batch_does_not(vocab):
    model = lively(tiny(vocab))
    image = torch.randn(1, 3, 64, 64)
    texts = ['red circle', 'the blue square on the right of the red circle', 'blue', 'red circle']
    with torch.no_grad():
        boxes, logits = model(image.expand(4, -1, -1, -1), samples(texts))
        alone = [model(image, samples([text])) for text in texts]
    for i, (box, logit) in enumerate(alone):
        torch.testing.assert_close(boxes[i : i + 1], box, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(logits[i : i + 1], logit, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits[0], logits[3])
    assert (logits[0] - logits[1]).abs().max() > 0.01
    with torch.no_grad():
        maps = model.visual_encoder(
            image.expand(2, -1, -1, -1), model.weight_generator(*model.text_encoder(texts[:2]))
        )
    assert (maps[0] - maps[1]).abs().max() > 0.01


def test_heads_equal_their_definition():
    torch.manual_seed(0)
    features, sentence = torch.randn(2, 8, 3, 4), torch.randn(2, 6)
    mask, box = MaskHead(6, 8, 16), BoxHead(6, 8, 4, 16)
    pixels = mask.up_sample(features)
    expected = (pixels * sentence[:, :, None, None]).sum(1)
    torch.testing.assert_close(mask(features, sentence), expected, rtol=1e-4, atol=1e-5)
    tokens = features.flatten(2).transpose(1, 2)
    for i in range(2):
        weights = (box.k_proj(tokens[i]) @ box.q_proj(sentence[i]) / 2).softmax(0)
        torch.testing.assert_close(
            box(features, sentence)[i], box.mlp(weights @ tokens[i]).sigmoid()
        )


def test_losses_equal_those_of_torchvision():
    torch.manual_seed(0)
    boxes, target = torch.rand(2, 5, 4) * 0.4 + 0.2
    found = box_losses(boxes, target)
    assert found['loss_l1'] == pytest.approx(F.l1_loss(boxes, target, reduction='sum').item() / 5)
    expected = generalized_box_iou_loss(cxcywh_to_xyxy(boxes), cxcywh_to_xyxy(target))
    assert found['loss_giou'] == pytest.approx(expected.mean().item(), rel=1e-5)
    logits, mask = torch.randn(3, 8, 8), (torch.rand(3, 8, 8) > 0.5).float()
    mask[2] = 0
    found = mask_losses(logits, mask)
    expected = sigmoid_focal_loss(logits, mask, 0.25, 2, 'mean')
    assert found['loss_focal'] == pytest.approx(expected.item(), rel=1e-5)
    dice = [
        1 - (2 * (p * m).sum() + 1) / (p.sum() + m.sum() + 1)
        for p, m in zip(logits.sigmoid(), mask, strict=True)
    ]
    assert found['loss_dice'] == pytest.approx(sum(dice).item() / 3, rel=1e-5)


def test_predictions_return_to_the_image_on_disk():
    (sample,) = samples(['red'])
    box = to_original(torch.tensor([8.0, 16.0, 40.0, 48.0]), sample)
    assert box.tolist() == [16, 16, 80, 80]
    beyond = to_original(torch.tensor([-5.0, 0.0, 70.0, 64.0]), sample)
    assert beyond.tolist() == [0, 0, 128, 96]
    logits = torch.full((64, 64), -9.0)
    logits[8:56] = 9.0
    assert (mask_to_original(logits, sample) == 9).all()


def test_an_eight_sample_set_is_learnt_by_heart(vocab):
    """Eight positions of a bright patch, told apart by nothing but the sentence's colour."""
    model = tiny(vocab).train()
    torch.manual_seed(1)
    images, batch = torch.randn(8, 3, 64, 64) * 0.1, []
    for i in range(4):
        for text, x in (('the red circle', 4 + 4 * i), ('the blue square', 60 - 4 * i - 16)):
            n = len(batch)
            pair = [n, n ^ 1]
            (sample,) = samples([text])
            sample.gt_box = torch.tensor([x, 24.0, x + 16.0, 40.0])
            sample.gt_mask = torch.zeros(64, 64, dtype=torch.bool)
            sample.gt_mask[24:40, x : x + 16] = True
            channel = 0 if 'red' in text else 2
            for other in pair:
                images[other, channel, 24:40, x : x + 16] += 2
            batch.append(sample)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model(images, batch, 'loss').values()).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        boxes, logits = model(images, batch)
    target = torch.stack([s.gt_box for s in batch]) / 64
    from mmvl.structures import pairwise_iou

    iou = pairwise_iou(cxcywh_to_xyxy(boxes), target).diagonal()
    masks = torch.stack([s.gt_mask for s in batch])
    guess = logits.sigmoid() > 0.35
    mask_iou = (guess & masks).sum((1, 2)) / (guess | masks).sum((1, 2))
    assert iou.min() > 0.7 and iou.mean() > 0.85
    assert mask_iou.mean() > 0.8


def test_converters_fill_the_model(vocab):
    model = tiny(vocab)
    visual = model.visual_encoder.state_dict()
    vitdet = {f'backbone.net.{name}': value for name, value in visual.items()}
    table = 'backbone.net.blocks.2.attn.rel_pos_h'
    vitdet[table] = F.pad(vitdet[table], (0, 0, 36, 36), value=7.0)
    other = {'backbone.simfp_2.0.weight': torch.zeros(1), 'roi_heads.x': torch.zeros(1)}
    ours = convert_vitdet({**vitdet, **other}, rows=15)
    assert {k.removeprefix('visual_encoder.') for k in ours} == visual.keys()
    assert torch.equal(
        ours['visual_encoder.blocks.2.attn.rel_pos_h'], visual['blocks.2.attn.rel_pos_h']
    )
    mmdet = convert_vitdet({f'backbone.{n}': v for n, v in visual.items()}, rows=15)
    assert mmdet.keys() == ours.keys()
    text = model.text_encoder.state_dict()
    bert = {name: value for name, value in text.items()}
    bert['bert.encoder.layer.1.output.dense.weight'] = torch.zeros(1)
    bert['bert.pooler.dense.weight'] = torch.zeros(1)
    assert {k.removeprefix('text_encoder.') for k in convert_bert(bert, 1)} == text.keys()
    for convert in (convert_vitdet, convert_bert):
        with pytest.raises(ValueError, match='is it a'):
            convert({'fc.weight': torch.zeros(1)})


def test_a_pickle_of_detectron2_is_read_without_running_code(vocab, tmp_path):
    visual = tiny(vocab).visual_encoder.state_dict()
    arrays = {f'backbone.net.{name}': value.numpy() for name, value in visual.items()}
    content = {'model': arrays, '__author__': 'someone', 'matching_heuristics': True}
    (tmp_path / 'model.pkl').write_bytes(pickle.dumps(content, protocol=4))
    convert_file('vitdet', tmp_path / 'model.pkl', tmp_path / 'ours.safetensors')
    found = load_checkpoint_file(tmp_path / 'ours.safetensors')['state_dict']
    assert found.keys() == {f'visual_encoder.{name}' for name in visual}
    assert all(torch.equal(found[f'visual_encoder.{k}'], v) for k, v in visual.items())
    bad = pickle.dumps({'model': print}, protocol=4)
    (tmp_path / 'model.pkl').write_bytes(bad)
    with pytest.raises(PickleError, match='builtins.print'):
        convert_file('vitdet', tmp_path / 'model.pkl', tmp_path / 'ours.safetensors')


def test_released_names_become_ours(vocab):
    model = tiny(vocab)
    back = {
        'weight_generator.aggregation.layer_embedding': 'weight_generator.layer_embedding',
        'weight_generator.left': 'weight_generator.S',
        'weight_generator.right': 'weight_generator.D',
        'box_head.mlp.': 'bbox_pred.',
        'box_head.': 'ada_gap.',
        'mask_head.': '',
    }
    released = {'text_encoder.pooler.dense.weight': torch.zeros(1)}
    for name, value in model.state_dict().items():
        if name.startswith('text_encoder.'):
            continue
        for own, theirs in back.items():
            if name.startswith(own):
                name = theirs + name.removeprefix(own)
                break
        if name.endswith(('.S', '.D')):
            value = value[..., None]
        if name.endswith('layer_embedding'):
            value = value[:, None]
        if '.norm' in name or 'proj.' in name and '.1.' in name:
            name = name.replace('.weight', '.gamma').replace('.bias', '.beta')
        released[name] = value
    ours = convert_released(released)
    own = {k: v for k, v in model.state_dict().items() if not k.startswith('text_encoder.')}
    assert ours.keys() == own.keys()
    assert all(torch.equal(ours[name], value) for name, value in own.items())
    with pytest.raises(ValueError, match="'queries' is no key"):
        convert_released({'queries': torch.zeros(1)})


def test_odd_sentences(vocab, capsys):
    model = tiny(vocab)
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match='sentence 0 is empty'):
        model(image, samples(['  ']))
    for text in ('red ' * 500, '红色的圆 🔴', 'the of the', 'x' * 10_000):
        boxes, logits = model(image, samples([text]))
        assert torch.isfinite(boxes).all() and torch.isfinite(logits).all()
    said = capsys.readouterr()
    assert (said.out + said.err).count('sentences of more than 40 tokens are cut') == 1
