import hashlib

import numpy as np
import pytest

from mmvl.hoi import vocabulary
from mmvl.hoi.vocabulary import (
    COCO_IDS,
    HOI_INDEX,
    HOI_OBJECT,
    HOI_VERB,
    NO_INTERACTION,
    OBJECTS,
    VALID,
    VERB_ING,
    VERBS,
    phrases,
)

# SHA-256 of the comma-joined lists in the released code of EoID.
OFFICIAL = {
    'OBJECTS': '45a69fd35194c19767412396f43f1db452701bf3f6a931354bb7512f5167acd7',
    'VERBS': '2cdc8507d20e43f4dc178fe2f21fc28c92bf69ae02e8dda8268883888f84f5f7',
    'COCO_IDS': '0812d4744801eca86670fe203ec02ea45ffdb2c6a64b6d780032e1444dab9b2b',
    'HOI_VERB': '7f40286f7228ff1b8051d3e0adbd5838ffaa45ad7de1625d223300f7552e3fd5',
    'HOI_OBJECT': '3c5a212b32480b12e10e9127f5d030d74231d010e85b5534c3b6c29cee817503',
    'VERB_ING': '3461cf6523904d0f73f99a996c12f2b29154e925f99b252f532b32fab88f7fbf',
    'HOI_INDEX': '7e37be6b220b10b64a1743ce1d8b125d2f7b6d0fcf7df3f99bd0698e2959db19',
}
OFFICIAL_PHRASES = '38e67c838560a9b2be990f0b7ab1ae9c5f0d15b056c75a13c6ea493fa073add3'


def digest(values):
    return hashlib.sha256(','.join(map(str, values)).encode()).hexdigest()


@pytest.mark.parametrize('name', OFFICIAL)
def test_equal_to_the_official_list(name):
    assert digest(np.ravel(getattr(vocabulary, name)).tolist()) == OFFICIAL[name]


def test_phrases_are_the_official_prompts():
    assert digest(phrases()) == OFFICIAL_PHRASES


def test_sizes():
    assert (len(OBJECTS), len(VERBS), len(HOI_VERB)) == (80, 117, 600)
    assert VALID.sum() == 600
    assert (HOI_VERB == NO_INTERACTION).sum() == 80
    assert VERBS[NO_INTERACTION] == 'no_interaction'


def test_index_inverts_the_pair_table():
    assert np.array_equal(HOI_INDEX[HOI_VERB, HOI_OBJECT], np.arange(600))
    assert (HOI_INDEX[~VALID] == -1).all()


def test_interactions_of_an_object_are_one_run():
    assert (np.diff(HOI_OBJECT) != 0).sum() == 79
    last = np.flatnonzero(np.diff(HOI_OBJECT, append=-1))
    assert (HOI_VERB[last] == NO_INTERACTION).all()


def test_known_entries():
    assert (OBJECTS[0], OBJECTS[79], COCO_IDS[79]) == ('person', 'toothbrush', 90)
    hoi = HOI_INDEX[VERBS.index('ride'), OBJECTS.index('bicycle')]
    assert phrases()[hoi] == 'a picture of person riding bicycle'
    dining = HOI_INDEX[VERBS.index('eat_at'), OBJECTS.index('dining_table')]
    assert phrases('{object}: {ing}')[dining] == 'dining table: eating at'
    assert VERB_ING[VERBS.index('hose')] == 'hosing down'
    assert VERB_ING[VERBS.index('lie_on')] == 'lying on'
