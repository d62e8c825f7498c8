"""Vocabulary of HICO-DET: 80 objects, 117 verbs and the 600 verb-object pairs that exist.

Objects are in COCO-80 order, verbs in the dataset's alphabetical order, interactions (HOIs) in the
dataset's own order: grouped by object, twenty objects first, then the other sixty. All ids are
zero-based.

Source: annotation files of HICO-DET (Chao et al. 2018), names as in QPIC's annotations; sentence
forms of EoID.
"""

from typing import Final

import numpy as np

OBJECTS: Final[tuple[str, ...]] = tuple(
    """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign
parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella
handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove
skateboard surfboard tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple
sandwich orange broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed
dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink
refrigerator book clock vase scissors teddy_bear hair_drier toothbrush
""".split()
)
"""Names of the 80 objects in COCO-80 order; person is 0."""

VERBS: Final[tuple[str, ...]] = tuple(
    """
adjust assemble block blow board break brush_with buy carry catch chase check clean control cook
cut cut_with direct drag dribble drink_with drive dry eat eat_at exit feed fill flip flush fly
greet grind groom herd hit hold hop_on hose hug hunt inspect install jump kick kiss lasso launch
lick lie_on lift light load lose make milk move no_interaction open operate pack paint park pay
peel pet pick pick_up point pour pull push race read release repair ride row run sail scratch
serve set shear sign sip sit_at sit_on slide smell spin squeeze stab stand_on stand_under stick
stir stop_at straddle swing tag talk_on teach text_on throw tie toast train turn type_on walk
wash watch wave wear wield zip
""".split()
)
"""Names of the 117 verbs."""

NO_INTERACTION: Final = 57
"""Index of the verb "no_interaction"."""

_UNUSED_COCO_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS: Final[np.ndarray] = np.setdiff1d(np.arange(1, 91), _UNUSED_COCO_IDS)
"""(80,) int64, the 1-90 category id of COCO's files for every object."""

# One entry an object, `name:verbs`, in the order of the HOI ids.
_VERBS_OF_OBJECTS = """
airplane:4,17,25,30,41,52,76,87,111,57 bicycle:8,36,41,43,37,62,71,75,76,87,98,110,111,57
bird:10,26,36,65,74,112,57 boat:4,21,25,41,43,47,75,76,77,79,87,93,105,111,57
bottle:8,20,36,41,48,58,69,57 bus:4,17,21,25,41,52,76,87,111,113,57
car:4,17,21,38,41,43,52,62,76,111,57 cat:22,26,36,39,45,65,80,111,10,57 chair:8,36,49,87,93,57
couch:8,49,87,57 cow:26,34,36,39,45,46,55,65,76,110,57 dining_table:12,24,86,57
dog:8,22,26,33,36,38,39,41,45,65,78,80,98,107,110,111,10,57
horse:26,33,36,39,43,45,52,37,65,72,76,78,98,107,110,111,57
motorcycle:36,41,43,37,62,71,72,76,87,98,108,110,111,57 person:8,31,36,39,45,92,100,102,48,57
potted_plant:8,36,38,57 sheep:8,26,34,36,39,45,65,76,83,110,111,57 train:4,21,25,52,76,87,111,57
tv:13,75,112,57 apple:7,15,23,36,41,64,66,89,111,57 backpack:8,36,41,58,114,57
banana:7,8,15,23,36,41,64,66,89,57 baseball_bat:5,8,36,84,99,104,115,57 baseball_glove:36,114,57
bear:26,40,112,57 bed:12,49,87,57 bench:41,49,87,57 book:8,36,58,73,57 bowl:36,96,111,48,57
broccoli:15,23,36,89,96,111,57 cake:3,8,15,23,36,51,54,67,57
carrot:8,14,15,23,36,64,89,96,111,57 cell_phone:8,36,73,75,101,103,57 clock:11,36,75,82,57
cup:8,20,36,41,69,85,89,27,111,57 donut:7,8,23,36,54,67,89,57
elephant:26,36,38,39,45,37,65,76,110,111,112,57 fire_hydrant:39,41,58,61,57
fork:36,50,95,48,111,57 frisbee:2,9,36,90,104,57 giraffe:26,45,65,76,112,57
hair_drier:36,59,75,57 handbag:8,36,41,57 hot_dog:8,14,15,23,36,54,57 keyboard:8,12,36,109,57
kite:1,8,30,36,41,47,70,57 knife:16,36,95,111,115,48,57 laptop:36,58,73,75,109,57
microwave:12,58,59,57 mouse:13,36,75,57 orange:7,15,23,36,41,64,66,91,111,57
oven:12,36,41,58,75,59,57 parking_meter:11,63,75,57 pizza:7,8,14,15,23,36,54,67,88,89,57
refrigerator:12,36,56,58,57 remote:36,68,99,57 sandwich:8,14,15,23,36,54,57 scissors:16,36,58,57
sink:12,75,111,57 skateboard:8,28,32,36,43,67,76,87,93,57 skis:0,8,36,41,43,67,75,76,93,114,57
snowboard:0,8,32,36,43,76,93,114,57 spoon:36,48,111,85,57
sports_ball:2,8,9,19,35,36,41,44,67,81,84,90,104,57 stop_sign:36,94,97,57
suitcase:8,18,36,39,52,58,60,67,116,57 surfboard:8,18,36,41,43,49,52,76,93,87,111,57
teddy_bear:8,36,39,45,57 tennis_racket:8,36,41,99,57 tie:0,15,36,41,70,105,114,57
toaster:36,59,75,57 toilet:12,29,58,75,87,93,111,57 toothbrush:6,36,111,57
traffic_light:42,75,94,97,57 truck:17,21,41,52,75,76,87,111,57 umbrella:8,36,53,58,75,82,94,57
vase:36,54,61,57 wine_glass:27,36,85,106,48,111,57 zebra:26,36,65,112,57
"""

_IRREGULAR_ING = {
    'control': 'controlling',
    'hose': 'hosing down',
    'no_interaction': 'no interaction',
    'zip': 'zipping',
}
_DOUBLED_ENDINGS = frozenset(
    'cut drag flip hit hop hug pet run set sip sit spin stab stir stop tag'.split()
)


def _ing(verb: str) -> str:
    if verb in _IRREGULAR_ING:
        return _IRREGULAR_ING[verb]
    first, *rest = verb.split('_')
    if first in _DOUBLED_ENDINGS:
        stem = first + first[-1]
    elif first.endswith('ie'):
        stem = f'{first[:-2]}y'
    else:
        stem = first.removesuffix('e')
    return ' '.join([f'{stem}ing', *rest])


def _parse_pairs() -> tuple[np.ndarray, np.ndarray]:
    verbs: list[int] = []
    objects: list[int] = []
    for entry in _VERBS_OF_OBJECTS.split():
        name, ids = entry.split(':')
        own = [int(i) for i in ids.split(',')]
        verbs += own
        objects += [OBJECTS.index(name)] * len(own)
    return np.array(verbs, dtype=np.int64), np.array(objects, dtype=np.int64)


def _index() -> np.ndarray:
    table = np.full((len(VERBS), len(OBJECTS)), -1, dtype=np.int64)
    table[HOI_VERB, HOI_OBJECT] = np.arange(len(HOI_VERB))
    return table


VERB_ING: Final[tuple[str, ...]] = tuple(_ing(verb) for verb in VERBS)
"""The 117 verbs as EoID's sentences say them: "riding", "hosing down", "no interaction"."""

_PAIRS = _parse_pairs()
HOI_VERB: Final[np.ndarray] = _PAIRS[0]
"""(600,) int64, verb of every interaction."""

HOI_OBJECT: Final[np.ndarray] = _PAIRS[1]
"""(600,) int64, COCO-80 object of every interaction."""

HOI_INDEX: Final[np.ndarray] = _index()
"""(117, 80) int64, interaction of (verb, object); -1 where the pair does not exist."""

VALID: Final[np.ndarray] = HOI_INDEX >= 0
"""(117, 80) bool, true where (verb, object) is one of the 600 interactions."""


def phrases(template: str = 'a picture of person {ing} {object}') -> list[str]:
    """Sentences of the 600 interactions, in HOI order.

    Args:
        template: a format string with the fields ``ing`` (an entry of :data:`VERB_ING`) and
            ``object`` (an object name, underscores as spaces).

    Source: EoID's teacher prompts; no article before the object.
    """
    return [
        template.format(ing=VERB_ING[verb], object=OBJECTS[obj].replace('_', ' '))
        for verb, obj in zip(HOI_VERB, HOI_OBJECT, strict=True)
    ]
