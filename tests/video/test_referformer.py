"""ReferFormer: sizes, its start, what frames and words may change, prediction."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvl.layers import FrozenResNet
from mmvl.video.preprocessing import ClipPreprocessor
from mmvl.video.referformer import ReferFormer
from mmvl.video.referformer.mask_head import DynamicMaskHead
from mmvl.video.structures import ClipDataSample

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] the red blue circle square moves left right'
IMAGES = {
    'type': 'mmdet.ResNet', 'depth': 18, 'base_channels': 8, 'stem_channels': 8,
}  # fmt: skip
CLIPS = {
    'type': 'VideoSwin', 'embed_dims': 8, 'depths': (1, 1, 2, 1), 'num_heads': (1, 1, 2, 2),
    'window': (2, 3, 3), 'drop_path_rate': 0.0,
}  # fmt: skip


@pytest.fixture
def vocab(tmp_path: Path) -> str:
    (tmp_path / 'vocab.txt').write_text('\n'.join(WORDS.split()) + '\n')
    return str(tmp_path / 'vocab.txt')


def tiny(vocab: str, backbone: dict = IMAGES, **changes) -> ReferFormer:
    """A small model as it starts."""
    torch.manual_seed(0)
    text = {
        'type': 'RobertaText', 'vocab': vocab, 'num_hidden_layers': 1, 'hidden_size': 32,
        'num_attention_heads': 2, 'intermediate_size': 32, 'vocab_size': 13,
        'max_position_embeddings': 20,
    }  # fmt: skip
    config = {
        'in_channels': (8, 16, 32, 64), 'embed_dims': 32, 'num_heads': 4, 'ffn_dims': 32,
        'encoder_layers': 1, 'decoder_layers': 2, 'dropout': 0.0, **changes,
    }  # fmt: skip
    return ReferFormer(text, backbone, **config).eval()


def lively(vocab: str, backbone: dict = IMAGES, **changes) -> ReferFormer:
    """The small model with queries that differ and masks that have two sides."""
    model = tiny(vocab, backbone, **changes)
    torch.manual_seed(1)
    nn.init.normal_(model.query_embed.weight, std=3)
    for heads, std in ((model.class_embed, 0.3), (model.bbox_embed, 0.2)):
        for parameter in heads.parameters():
            nn.init.normal_(parameter, std=std)
    nn.init.normal_(model.mask_head.controller.layers[-1].bias, std=0.2)
    return model


def sample(text: str = 'the red circle', frames: int = 3, target=None, size=(92, 76)):
    meta = {
        'text': text, 'frame_names': tuple(map(str, range(frames))), 'target': target,
        'img_shape': size, 'ori_shape': (138, 114),
    }  # fmt: skip
    found = ClipDataSample(metainfo=meta)
    masks = torch.zeros(frames, *size, dtype=torch.bool)
    masks[:, 16:60, 12:44] = True
    found.gt_masks = masks
    found.gt_boxes = torch.tensor([[12.0, 16.0, 43.0, 59.0]]).repeat(frames, 1)
    found.gt_valid = torch.ones(frames, dtype=torch.bool)
    return found


def clip(frames: int = 3, seed: int = 0) -> torch.Tensor:
    """A padded clip (1, T, 3, 96, 96), 92 rows and 76 columns of which are frames."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(1, frames, 3, 96, 96)
    found[..., :92, :76] = torch.randn(1, frames, 3, 92, 76, generator=generator)
    return found


def count(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def published(backbone: dict, channels: tuple[int, ...]) -> ReferFormer:
    with torch.device('meta'):
        text = {'type': 'RobertaText', 'vocab': 'roberta-base'}
        return ReferFormer(text, backbone, channels, freeze_text=True)


def test_numbers_of_parameters_are_those_of_the_publication():
    resnet = {'type': 'FrozenResNet', 'depth': 50, 'out_indices': (0, 1, 2, 3)}
    model = published(resnet, (256, 512, 1024, 2048))
    assert count(model) == 176_262_207
    parts = {
        'text_encoder': 124_645_632, 'backbone': 23_454_912, 'input_proj': 5_639_168,
        'pixel_decoder': 9_530_624, 'mask_head': 684_905, 'fusion': 263_168, 'resizer': 197_376,
        'bbox_embed': 530_448, 'class_embed': 1_028,
    }  # fmt: skip
    assert {name: count(getattr(model, name)) for name in parts} == parts
    # the released transformer owns the box heads too
    assert count(model.transformer) + count(model.bbox_embed) == 11_844_114
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    frozen_backbone = count(FrozenResNet(50).layer1) + count(FrozenResNet(50).conv1)
    assert sum(trained) == 51_394_175
    assert count(model) - sum(trained) == 124_645_632 + frozen_backbone
    video = published({'type': 'VideoSwin'}, (96, 192, 384, 768))
    assert count(video) == 177_088_101


def test_it_starts_from_the_published_prior(vocab):
    model = ReferFormer(
        {'type': 'RobertaText', 'vocab': vocab, 'vocab_size': 13, 'num_hidden_layers': 1},
        CLIPS, (8, 16, 32, 64),
    ).eval()  # fmt: skip
    for head in model.class_embed:
        assert head.bias.sigmoid().item() == pytest.approx(0.01)
    assert [h.layers[-1].bias.tolist() for h in model.bbox_embed] == [[0, 0, -2, -2]] + [
        [0] * 4
    ] * 3
    boxes = model(clip(), [sample()]).boxes
    # centre and size stay those of the reference points and of the first layer
    assert torch.equal(boxes[0, ..., 2:], torch.full_like(boxes[0, ..., 2:], -2).sigmoid())
    torch.testing.assert_close(boxes[1:], boxes[:-1], rtol=1e-4, atol=1e-5)


def test_padding_and_other_clips_change_nothing_but_their_own(vocab):
    """A sentence next to a longer one, and a clip next to another, answer as they do alone."""
    model = lively(vocab, CLIPS)
    both = torch.cat([clip(), clip(seed=1)])
    batch = [sample('the red circle'), sample('blue square moves left right the')]
    with torch.no_grad():
        together = model(both, batch)
        for i in range(2):
            alone = model(both[i : i + 1], batch[i : i + 1])
            for name in ('logits', 'boxes', 'masks'):
                found = getattr(together, name)[:, i]
                torch.testing.assert_close(found, getattr(alone, name)[:, 0], rtol=1e-4, atol=1e-4)


def test_frames_and_the_sentence_matter(vocab):
    model = lively(vocab)
    one, other = clip(), clip(seed=1)
    mixed = torch.cat([one[:, :2], other[:, 2:]], 1)
    with torch.no_grad():
        plain, changed = model(one, [sample()]), model(mixed, [sample()])
        reworded = model(one, [sample('the blue square')])
    # boxes and scores of a frame are its own, masks see all frames
    assert torch.equal(plain.logits[:, :, :2], changed.logits[:, :, :2])
    assert (plain.masks[:, :, :2] - changed.masks[:, :, :2]).abs().max() > 1e-3
    assert (plain.logits - changed.logits)[:, :, 2].abs().max() > 1e-3
    assert (plain.logits - reworded.logits).abs().min() > 0


def test_with_a_target_the_other_frames_count_only_in_a_backbone_of_clips(vocab):
    one, other = clip(), clip(seed=1)
    mixed = torch.cat([other[:, :1], one[:, 1:]], 1)
    for backbone, same in ((IMAGES, True), (CLIPS, False)):
        model = lively(vocab, backbone)
        with torch.no_grad():
            first, second = (model(each, [sample(target=1)]) for each in (one, mixed))
            single = model(one[:, 1:2], [sample(frames=1)])
        assert first.masks.shape == (2, 1, 1, 5, 24, 24)
        assert torch.equal(first.masks, second.masks) == same
        assert torch.allclose(first.masks, single.masks, atol=1e-4) == same


def test_answers_do_not_depend_on_how_many_frames_are_worked_on_at_once(vocab):
    model, frames = lively(vocab), 6
    batch = torch.cat([clip(frames), clip(frames, 1)]), [sample(frames=frames)] * 2
    with torch.no_grad():
        portions = model(*batch)
    whole = model(*batch)
    for name in ('logits', 'boxes', 'masks'):
        torch.testing.assert_close(
            getattr(portions, name), getattr(whole, name), rtol=1e-4, atol=1e-4
        )


def test_masks_are_three_convolutions_of_the_query():
    """Against the convolutions written out for one query, with coordinates as channels."""
    torch.manual_seed(0)
    head = DynamicMaskHead(4, hidden=2)
    states, features = torch.randn(2, 3, 4), torch.randn(2, 4, 5, 6)
    centres = torch.rand(2, 3, 2) * 20
    found = head(states, centres, features)
    parameters = head.controller(states)[1, 2]
    assert len(parameters) == 6 * 2 + 2 * 2 + 2 + 2 + 2 + 1
    y, x = torch.meshgrid(torch.arange(5) * 4 + 2, torch.arange(6) * 4 + 2, indexing='ij')
    relative = centres[1, 2, :, None, None] - torch.stack([x, y])
    out = torch.cat([features[1], relative])[None]
    weights, biases = parameters.split([18, 5])
    sizes = ((2, 6), (2, 2), (1, 2))
    kernels = weights.split([a * b for a, b in sizes])
    for kernel, bias, size in zip(kernels, biases.split([2, 2, 1]), sizes, strict=True):
        out = F.conv2d(out.relu() if size != (2, 6) else out, kernel.view(*size, 1, 1), bias)
    torch.testing.assert_close(found[1, 2], out[0, 0], rtol=1e-4, atol=1e-4)


def test_masks_move_no_boxes(vocab):
    model = lively(vocab)
    model(clip(), [sample()]).masks.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.bbox_embed.parameters())
    assert model.mask_head.controller.layers[0].weight.grad.any()


def test_a_frozen_text_encoder_gets_no_gradient_but_keeps_its_dropout(vocab):
    for frozen in (True, False):
        model = lively(vocab, freeze_text=frozen).train()
        sum(model(clip(), [sample()], mode='loss').values()).backward()
        gradients = [p.grad is not None for p in model.text_encoder.parameters()]
        assert not any(gradients) if frozen else all(gradients)
        rest = {n: p.grad for n, p in model.named_parameters() if 'text_encoder' not in n}
        assert [name for name, grad in rest.items() if grad is None] == []
        model.resizer.eval()
        first, second = (model.text_encoder(['the red circle'])[2] for _ in range(2))
        assert not torch.equal(first, second)


def test_it_learns_a_clip(vocab):
    model = tiny(vocab, CLIPS).train()
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    batch = [sample()]
    for _ in range(45):
        loss = sum(model(clip(), batch, mode='loss').values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        (found,) = model(clip(), batch, mode='predict')
    truth = torch.zeros(3, 138, 114, dtype=torch.bool)
    truth[:, 24:90, 18:66] = True
    # logits far below zero outside move the border inwards, by half a cell of 6 pixels at most
    assert (found.pred_masks & truth).sum() / (found.pred_masks | truth).sum() > 0.75
    assert found.pred_scores.min() > 0.3


def test_losses_are_finite_in_bfloat16_and_without_the_referent(vocab):
    model = lively(vocab, CLIPS).train()
    absent = sample()
    absent.gt_masks = torch.zeros_like(absent.gt_masks)
    absent.gt_boxes = torch.zeros_like(absent.gt_boxes)
    absent.gt_valid = torch.zeros_like(absent.gt_valid)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = model(torch.cat([clip(), clip()]), [sample(), absent], mode='loss')
    assert all(torch.isfinite(value) for value in losses.values())
    names = ('loss_ce', 'loss_bbox', 'loss_giou', 'loss_mask', 'loss_dice')
    assert losses.keys() == {*names, *(f'{name}_0' for name in names)}


def test_a_video_gets_the_query_of_its_mean_score(vocab):
    model, video = lively(vocab), sample()
    with torch.no_grad():
        model(clip(), [video], mode='predict')
        raw = model(clip()[..., :92, :76], [video])
    score = raw.logits[-1, 0].sigmoid()
    query = int(score.mean(0).argmax())
    logits = raw.masks[-1, 0, :, query]
    expected = F.interpolate(logits[None], (138, 114), mode='bilinear', align_corners=False)[0]
    assert torch.equal(video.pred_masks, expected > 0)
    assert 0.02 < video.pred_masks.float().mean() < 0.98
    torch.testing.assert_close(video.pred_scores, score[:, query])
    cx, cy, w, h = raw.boxes[-1, 0, :, query].unbind(-1)
    corners = torch.stack([(cx - w / 2) * 114, (cy - h / 2) * 138,
                           (cx + w / 2) * 114, (cy + h / 2) * 138], -1)  # fmt: skip
    torch.testing.assert_close(video.pred_boxes, corners)
    assert 'pred_probs' not in video


def test_windows_are_videos_of_their_own(vocab):
    model = lively(vocab, test_cfg={'mode': 'windows', 'window': 2})
    # a target is for mode 'frame'
    video, frames = sample(frames=5, target=3), clip(5)
    parts = [sample(frames=n) for n in (2, 2, 1)]
    with torch.no_grad():
        model(frames, [video], mode='predict')
        model.test_cfg['mode'] = 'video'
        for part, window in zip(parts, frames.split(2, 1), strict=True):
            model(window, [part], mode='predict')
    for name in ('pred_masks', 'pred_boxes', 'pred_scores'):
        expected = torch.cat([getattr(part, name) for part in parts])
        torch.testing.assert_close(getattr(video, name), expected)
    assert video.pred_probs.dtype == torch.float32
    assert ((video.pred_probs > 0.5) == video.pred_masks).float().mean() > 0.999


def test_prediction_cuts_off_what_the_batch_added(vocab):
    """Clips of other sizes and lengths in a batch, padded by the preprocessor."""
    model = lively(vocab)
    frames = [torch.randint(0, 256, (t, 3, h, w)).byte() for t, h, w in ((3, 92, 76), (2, 70, 100))]
    batch = [sample(frames=len(each)) for each in frames]
    data = model.data_preprocessor({'inputs': frames, 'data_samples': batch})
    assert data['inputs'].shape == (2, 3, 3, 96, 128)
    assert not data['inputs'][1, 2].any() and not data['inputs'][0, :, :, 92:].any()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    expected = (frames[1][1, :, 69, 99] - mean) / std
    torch.testing.assert_close(data['inputs'][1, 1, :, 69, 99], expected)
    with torch.no_grad():
        together = model(**data, mode='predict')
        for each, found in zip(frames, together, strict=True):
            alone = sample(frames=len(each))
            single = ClipPreprocessor(divisor=1)({'inputs': [each], 'data_samples': [alone]})
            (alone,) = model(**single, mode='predict')
            assert torch.equal(alone.pred_masks, found.pred_masks)
            assert len(found.pred_scores) == len(each)


def test_a_frame_gets_all_queries_at_its_own_size(vocab):
    model = lively(vocab, test_cfg={'mode': 'frame'})
    shot = sample(target=2)
    with torch.no_grad():
        model(clip(), [shot], mode='predict')
        raw = model(clip(), [shot])
    assert shot.query_masks.shape == (5, 138, 114) and shot.query_scores.shape == (5,)
    large = F.interpolate(raw.masks[-1, 0], (96, 96), mode='bilinear')[0] > 0
    # nearest: the pixel of 92 x 76 in which the left upper corner of a pixel of 138 x 114 lies
    rows, columns = (torch.arange(138) * 92) // 138, (torch.arange(114) * 76) // 114
    assert torch.equal(shot.query_masks, large[:, rows[:, None], columns])
    best = int(shot.query_scores.argmax())
    assert torch.equal(shot.pred_masks[0], shot.query_masks[best])
    with pytest.raises(ValueError, match="'frame' needs one frame or a 'target', got 3 frames"):
        model(clip(), [sample()], mode='predict')


def test_wrong_modes_and_empty_sentences_are_refused(vocab):
    with pytest.raises(ValueError, match="test_cfg.mode is one of .*, not 'whole'"):
        tiny(vocab, test_cfg={'mode': 'whole'})
    model = tiny(vocab)
    with pytest.raises(ValueError, match="not 'train'"):
        model(clip(), [sample()], mode='train')
    with pytest.raises(ValueError, match='sentence 0 is empty'):
        model(clip(), [sample(' ')])
