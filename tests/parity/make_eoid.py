"""Make ``data/eoid.pt``: what the released EoID code answers to the cases of ``common.py``.

    python tests/parity/make_eoid.py PATH_OF_AN_EOID_CHECKOUT

The released code needs a few names that Python and numpy have since dropped; they are put back
for the length of the run. None of the released code is kept.
"""

import argparse
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from common import StubCLIP, eoid_case, layer, picture, seeded, seeded_weights
from PIL import Image

COMMIT = '6bc11d5821fd9a6be2f47e571eb4d57f81284095'
IMAGES = ((96, 128), (64, 160))
OPTIONS = {
    'hidden_dim': 256,
    'dropout': 0.1,
    'nheads': 8,
    'dim_feedforward': 2048,
    'enc_layers': 6,
    'dec_layers_hopd': 3,
    'dec_layers_interaction': 3,
    'pre_norm': False,
    'use_matching': False,
    'vdetach': True,
    'lr_backbone': 1e-5,
    'masks': False,
    'backbone': 'resnet50',
    'dilation': False,
    'position_embedding': 'sine',
    'verb_loss_type': 'focal_bce',
    'alpha': 0.5,
    'dataset_file': 'hico_ua_st_v1',
    'obj_reweight': False,
    'verb_reweight': False,
    'use_static_weights': False,
    'queue_size': 1,
    'subject_category_id': 0,
    'topk': 3,
    'thres': 0.5,
    'set_cost_obj_class': 1,
    'set_cost_verb_class': 1,
    'set_cost_bbox': 2.5,
    'set_cost_giou': 1,
    'set_cost_matching': 1,
}


def import_official(checkout: Path) -> types.SimpleNamespace:
    """Import the released modules with the dropped names in place and no download."""
    sys.modules.setdefault('imp', types.ModuleType('imp'))
    np.int = int
    # the packages' own __init__ files import every other method and its requirements
    for package in ('models', 'datasets'):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(checkout / package)]
    resnet = torchvision.models.resnet50
    torchvision.models.resnet50 = lambda pretrained, **kwargs: resnet(weights=None, **kwargs)
    sys.path.insert(0, str(checkout))
    from models import EoID, backbone, cdn, matcher
    from util import misc

    return types.SimpleNamespace(eoid=EoID, backbone=backbone, cdn=cdn, matcher=matcher, misc=misc)


def official_model(official: types.SimpleNamespace, args: argparse.Namespace) -> torch.nn.Module:
    """The released model with weights drawn from torch's generator."""
    return official.eoid.HOIModel(
        official.backbone.build_backbone(args),
        official.cdn.build_cdn(args),
        None,
        80,
        117,
        64,
        aux_loss=True,
        args=args,
    )


def official_criterion(
    official: types.SimpleNamespace,
    args: argparse.Namespace,
    clip: torch.nn.Module,
    preprocess: Callable,
    text: torch.Tensor,
    num_queries: int,
) -> Callable:
    """The released criterion around a CLIP, its image transform and its text embeddings."""
    criterion = official.eoid.SetCriterionHOI(
        clip,
        preprocess,
        text,
        80,
        num_queries,
        117,
        official.matcher.build_matcher_twostage(args),
        {},
        0.1,
        ['obj_labels', 'verb_labels', 'sub_obj_boxes', 'is'],
        args,
    )
    criterion.clipseen_reweight = False
    return criterion


def model_outputs(official: types.SimpleNamespace, args: argparse.Namespace) -> dict:
    """All layers of the seeded model on a padded batch of two images."""
    model = official_model(official, args).eval()
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(seeded_weights(shapes))
    images = [seeded(f'image{i}', (3, *size)) for i, size in enumerate(IMAGES)]
    with torch.no_grad():
        out = model(official.misc.nested_tensor_from_tensor_list(images))
    last = {name: value for name, value in out.items() if name != 'aux_outputs'}
    return {'shapes': shapes, 'layers': [*out['aux_outputs'], last]}


def copy(targets: list[dict]) -> list[dict]:
    return [{k: v.clone() if torch.is_tensor(v) else v for k, v in t.items()} for t in targets]


def matches(official: types.SimpleNamespace, args: argparse.Namespace) -> list:
    """Indices of 100 seeded cases, last layer."""
    matcher = official.matcher.build_matcher_twostage(args)
    found = []
    for seed in range(100):
        predictions, targets = eoid_case(seed)
        answer = matcher(layer(predictions, -1), copy(targets))
        found.append(
            [
                [torch.stack([a.long(), b.long()]) for a, b in answer[key]]
                for key in ('seen_indices', 'topk_indices')
            ]
        )
    return found


def losses(official: types.SimpleNamespace, args: argparse.Namespace) -> dict:
    """Every loss term of 12 seeded cases, for both verb losses."""
    stub = StubCLIP()
    clip = torch.nn.Module()
    clip.encode_image = stub.encode_image
    clip.logit_scale = stub.logit_scale.log()
    text = torch.nn.functional.normalize(stub.encode_text(), dim=-1)
    found = {}
    for verb_loss in ('focal_bce', 'bce_bce'):
        args.verb_loss_type = verb_loss
        criterion = official_criterion(
            official,
            args,
            clip,
            lambda region: official.eoid.prepocess(region, stub.input_size),
            text,
            num_queries=24,
        )
        for seed in range(12):
            predictions, targets = eoid_case(seed)
            targets = copy(targets)
            for i, target in enumerate(targets):
                target['img_or'] = Image.fromarray(picture(10 * seed + i).numpy())
            outputs = layer(predictions, -1)
            outputs['aux_outputs'] = [layer(predictions, 0), layer(predictions, 1)]
            terms = criterion(outputs, targets)
            found[f'{verb_loss}/{seed}'] = {
                name: float(value) for name, value in terms.items() if name.startswith('loss')
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkout', type=Path)
    args = argparse.Namespace(**OPTIONS)
    official = import_official(parser.parse_args().checkout)
    golden = {
        'commit': COMMIT,
        'model': model_outputs(official, args),
        'matches': matches(official, args),
        'losses': losses(official, args),
    }
    target = Path(__file__).parent / 'data' / 'eoid.pt'
    target.parent.mkdir(exist_ok=True)
    torch.save(golden, target)
    print(f'{target}: {target.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
