import hashlib

import numpy as np
import pytest

from mmvl.hoi.splits import RARE, SPLITS, unseen_hois
from mmvl.hoi.vocabulary import HOI_INDEX, HOI_OBJECT, HOI_VERB, OBJECTS, VERBS

SIZES = {
    'ua': 100,
    'uc0': 120,
    'uc1': 120,
    'uc2': 120,
    'uc3': 120,
    'uc4': 120,
    'rf_uc': 120,
    'rf_uc_138': 138,
    'nf_uc': 120,
    'uo': 100,
    'uv': 84,
}
# SHA-256 of the comma-joined sorted lists in the released code of EoID.
OFFICIAL = {
    'ua': '287f92f2c316c28b89b9d623298b8dfbf6a1ebf19dc9f080c986297b8ce52671',
    'uo': 'ffe1f6bc597723eeab4028a7cdd8eda250e2a55e52f8694f684ecc21a54de9eb',
    'rf_uc_138': '0711a4d696a38d9310fb38c4f10e7f855b46d936e5bea3b6f37fb09c1cf3fa06',
    'nf_uc': '6076d4003a3f66eb7548e1bdda14f1755f5b3fab687317940d733cf73b56ddbb',
    'uc0': 'e07e438ab47d19d31fde989e3e9af75fe984342664fb9fe43e63a947d3175959',
    'uc1': '5cce7d5bd0b8ce47e92bf1e054736e8c8b517c3fd7f70d0816021488d47fb01d',
    'uc2': 'ee93da3d026fe0c734786ad6af8605105b294a3174017ef1479f83605e9918da',
    'uc3': 'dfff6b13b481930258034851b5494ad5c86f2197a9e75835aa145e970d4c28eb',
    'uc4': '25e03350a57f0ab84ed88372b0a0960cc134c6c3ba3c7b4425e9c6b27cea0d45',
}


@pytest.mark.parametrize('name', SIZES)
def test_published_size_sorted_and_unique(name):
    ids = unseen_hois(name)
    assert ids.dtype == np.int64
    assert len(ids) == SIZES[name]
    assert (np.diff(ids) > 0).all()
    assert 0 <= ids[0] and ids[-1] < 600
    assert len(np.setdiff1d(np.arange(600), ids)) + len(ids) == 600


@pytest.mark.parametrize('name', OFFICIAL)
def test_equal_to_the_official_list(name):
    text = ','.join(map(str, unseen_hois(name).tolist()))
    assert hashlib.sha256(text.encode()).hexdigest() == OFFICIAL[name]


def test_every_name_is_tested():
    assert set(SIZES) == set(SPLITS)


def test_rf_uc_is_rare_and_keeps_every_verb_and_object_seen():
    unseen = unseen_hois('rf_uc')
    assert np.isin(unseen, RARE).all()
    seen = np.setdiff1d(np.arange(600), unseen)
    assert len(np.unique(HOI_VERB[seen])) == 117
    assert len(np.unique(HOI_OBJECT[seen])) == 80
    without_138 = np.setdiff1d(np.arange(600), RARE)
    assert len(np.unique(HOI_VERB[without_138])) == 104
    assert len(np.unique(HOI_OBJECT[without_138])) == 79


def test_nf_uc_has_no_rare_one():
    assert not np.isin(unseen_hois('nf_uc'), RARE).any()


def test_unseen_verbs_and_objects_never_occur_among_the_seen():
    for name, of_hoi, count in (('ua', HOI_VERB, 22), ('uv', HOI_VERB, 20), ('uo', HOI_OBJECT, 12)):
        unseen = unseen_hois(name)
        seen = np.setdiff1d(np.arange(600), unseen)
        assert len(np.unique(of_hoi[unseen])) == count
        assert not np.isin(of_hoi[seen], of_hoi[unseen]).any()


def test_ua_and_uv_share_eight():
    assert len(np.intersect1d(unseen_hois('ua'), unseen_hois('uv'))) == 8
    assert HOI_INDEX[VERBS.index('hose'), OBJECTS.index('dog')] in unseen_hois('uv')


def test_own_ids_and_none():
    assert unseen_hois([5, 3]).tolist() == [3, 5]
    assert unseen_hois(None).tolist() == []
    assert unseen_hois([]).dtype == np.int64


def test_result_may_be_changed_by_the_caller():
    unseen_hois('ua')[:] = 0
    assert unseen_hois('ua')[0] == 2


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ('ucc', 'known splits: ua, uc0'),
        ([0, 600], '0-599, got 600'),
        ([-1], '0-599, got -1'),
        ([4, 4], '4 is given twice'),
        ([0.5], 'list of HOI ids'),
    ],
)
def test_bad_splits_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        unseen_hois(given)
