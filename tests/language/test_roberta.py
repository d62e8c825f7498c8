"""RoBERTa against transformers, and a vocabulary of words in its place."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer

from mmvl.language import RobertaText

WORDS = '[PAD] [UNK] [CLS] [SEP] [MASK] the red blue circle square moves left right'
SHAPE = {
    'num_hidden_layers': 1, 'hidden_size': 32, 'num_attention_heads': 2, 'intermediate_size': 32,
    'vocab_size': 13, 'max_position_embeddings': 20,
}  # fmt: skip


@pytest.fixture
def vocab(tmp_path: Path) -> str:
    (tmp_path / 'vocab.txt').write_text('\n'.join(WORDS.split()) + '\n')
    return str(tmp_path / 'vocab.txt')


def test_sentences_are_cut_into_the_tokens_of_roberta(tmp_path):
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        ['the red circle moves left', 'a person in red'] * 4, 300, 1,
        special_tokens=['<s>', '<pad>', '</s>', '<unk>', '<mask>'],
    )  # fmt: skip
    trained.save_model(str(tmp_path))
    size = len(json.loads((tmp_path / 'vocab.json').read_text()))
    shape = {'num_hidden_layers': 1, 'hidden_size': 16, 'num_attention_heads': 2}
    ours = RobertaText(str(tmp_path), vocab_size=size, intermediate_size=16, **shape)
    theirs = RobertaTokenizerFast.from_pretrained(str(tmp_path))
    texts = ['the red circle', 'a person, 20 years old, moves "left"!', 'größer 🔴', 'x']
    expected = theirs(texts, padding='longest', return_tensors='pt')
    ids, valid = ours.tokenize(texts)
    assert torch.equal(ids, expected['input_ids'])
    assert torch.equal(valid, expected['attention_mask'].bool())
    with pytest.raises(ValueError, match=f'set vocab_size={size}'):
        RobertaText(str(tmp_path), vocab_size=9, intermediate_size=16, **shape).tokenizer  # noqa: B018


def test_text_features_are_those_of_transformers(vocab):
    model = RobertaText(vocab, **SHAPE).eval()
    texts = ['red', 'the blue square moves right']
    with torch.no_grad():
        words, valid, sentence = model(texts)
        ids, _ = model.tokenize(texts)
        # transformers finds the places from its own padding
        own = ids.masked_fill(~valid, model.roberta.config.pad_token_id)
        own[ids == 1] = 3
        expected = model.roberta(input_ids=own, attention_mask=valid.long())
    torch.testing.assert_close(words[valid], expected.last_hidden_state[valid])
    torch.testing.assert_close(sentence, expected.pooler_output)
    assert words.shape == (2, 7, 32) and valid.sum(1).tolist() == [3, 7]


def test_a_vocabulary_that_is_not_there_is_named(tmp_path):
    model = RobertaText(str(tmp_path / 'roberta'), vocab_size=9, hidden_size=12)
    with pytest.raises(FileNotFoundError, match=r'no folder with vocab.json and merges.txt'):
        model(['red'])
