"""How large the released datasets are."""

PUBLISHED: dict[tuple[str, str, str], tuple[int | None, int | None, int | None]] = {
    ('refcoco', 'unc', 'train'): (120_624, 42_404, 16_994),
    ('refcoco', 'unc', 'val'): (10_834, 3_811, 1_500),
    ('refcoco', 'unc', 'testA'): (5_657, 1_975, 750),
    ('refcoco', 'unc', 'testB'): (5_095, 1_810, 750),
    ('refcoco', 'google', 'train'): (None, 40_000, None),
    ('refcoco', 'google', 'val'): (None, 5_000, None),
    ('refcoco', 'google', 'test'): (None, 5_000, None),
    ('refcoco+', 'unc', 'train'): (120_191, 42_278, 16_992),
    ('refcoco+', 'unc', 'val'): (10_758, 3_805, 1_500),
    ('refcoco+', 'unc', 'testA'): (5_726, 1_975, 750),
    ('refcoco+', 'unc', 'testB'): (4_889, 1_798, 750),
    ('refcocog', 'umd', 'train'): (80_512, 42_226, 21_899),
    ('refcocog', 'umd', 'val'): (4_896, 2_573, 1_300),
    ('refcocog', 'umd', 'test'): (9_602, 5_023, 2_600),
    ('refcocog', 'google', 'train'): (85_474, 44_822, 24_698),
    ('refcocog', 'google', 'val'): (9_536, 5_000, 4_650),
    ('referit', 'berkeley', 'train'): (54_127, None, None),
    ('referit', 'berkeley', 'val'): (5_842, None, None),
    ('referit', 'berkeley', 'trainval'): (59_969, None, None),
    ('referit', 'berkeley', 'test'): (60_103, None, None),
    ('flickr30k', '', 'train'): (427_193, None, 29_783),
    ('flickr30k', '', 'val'): (14_433, None, 1_000),
    ('flickr30k', '', 'test'): (14_481, None, 1_000),
}
"""Dataset, who divided it, split -> sentences, referents, images; None where not published.

The index of TransVG divides ReferItGame otherwise than the refer API divides RefClef. Flickr30k
Entities counts phrases that have a box.

Source: data cards of the releases, and the papers of Yu et al. 2016, Nagaraja et al. 2016,
Mao et al. 2016 and Plummer et al. 2015; the papers print one sentence less for RefCOCO.
"""
