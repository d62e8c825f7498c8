"""Imports the released ALOcc without mmdet3d 0.x and mmcv 1.x, with stand-ins for what it wants.

ResNet, its blocks and the losses come from mmdet 3, where they are the same; what the released
configs never reach is left empty; the compiled pooling becomes ``index_add``. None of the released
code is kept.
"""

import functools
import importlib
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mmcv.cnn
import mmcv.cnn.bricks.transformer as bricks
import mmengine.model
import torch
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmdet.models.layers.transformer.utils import inverse_sigmoid
from mmdet.models.losses import CrossEntropyLoss
from mmdet.models.losses.utils import weight_reduce_loss
from mmengine.config import ConfigDict
from mmengine.registry import Registry
from torch import Tensor, nn

COMMIT = '1bfd7de'
MODULES = (
    'backbones.resnet',
    'necks.fpn',
    'necks.lss_fpn',
    'alocc.view_transformation.view_transformer',
    'alocc.view_transformation.depth_net',
    'alocc.heads.mask2former_utils.losses.dice_loss',
    'alocc.heads.alocc_head',
    'alocc.detectors.alocc',
)
# their __init__ would import far more than these modules
PACKAGES = (
    *('backbones', 'necks', 'alocc', 'alocc.detectors', 'alocc.view_transformation'),
    *('alocc.heads', 'alocc.heads.utils', 'alocc.heads.mask2former_utils'),
    *('alocc.heads.mask2former_utils.base', 'alocc.heads.mask2former_utils.losses'),
)
KINDS = ('BACKBONES', 'NECKS', 'HEADS', 'LOSSES', 'DETECTORS')


class CenterPoint(nn.Module):
    """The part of mmdet3d's detector that ALOCC reaches."""

    with_pts_bbox = False
    with_img_neck = True
    registries: dict[str, Registry] = {}

    def __init__(self, img_backbone: dict, img_neck: dict, pts_bbox_head: None = None) -> None:
        super().__init__()
        self.img_backbone = _build(self.registries['BACKBONES'], img_backbone)
        self.img_neck = _build(self.registries['NECKS'], img_neck)


def bev_pool_v2(
    depth: Tensor,
    feat: Tensor,
    ranks_depth: Tensor,
    ranks_feat: Tensor,
    ranks_bev: Tensor,
    shape: tuple[int, ...],
    starts: Tensor,
    lengths: Tensor,
) -> Tensor:
    """The released operator by ``index_add``: (B, C, Z, Y, X)."""
    b, z, y, x, c = shape
    rows = depth.flatten()[ranks_depth.long()][:, None] * feat.reshape(-1, c)[ranks_feat.long()]
    pooled = feat.new_zeros(b * z * y * x, c).index_add(0, ranks_bev.long(), rows)
    return pooled.view(b, z, y, x, c).permute(0, 4, 1, 2, 3).contiguous()


def import_official(checkout: Path) -> 'Official':
    """Import the released modules; afterwards mmdet is what it was before."""
    registries = {kind: Registry(f'released {kind.lower()}') for kind in KINDS}
    registries['BACKBONES'].register_module(module=ResNet)
    registries['LOSSES'].register_module(module=CrossEntropyLoss)
    CenterPoint.registries = registries
    # the released code calls it in constructors
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    with _replaced_mmdet():
        _stand_in_for_mmcv()
        _stand_in_for_mmdet(registries)
        _stand_in_for_mmdet3d(registries, checkout / 'mmdet3d')
        for name in MODULES:
            importlib.import_module(f'mmdet3d.models.{name}')
    return Official(checkout, registries)


class Official:
    """The released code: its configs and what they build."""

    def __init__(self, checkout: Path, registries: dict[str, Registry]) -> None:
        self.checkout, self.registries = checkout, registries

    def model(self, name: str, **changes: Any) -> nn.Module:
        """Build the model of a released config, after changes of its top-level variables."""
        head, tail = (self.checkout / f'configs/alocc/{name}.py').read_text().split('\nmodel = ')
        for key, value in changes.items():
            pattern = rf'(?m)^{key}\s*=\s*(\{{[^{{}}]*\}}|[^\n]*)'
            head, number = re.subn(pattern, f'{key} = {value!r}', head)
            assert number == 1, f'{key} occurs {number} times'
        space: dict[str, Any] = {}
        exec(f'{head}\nmodel = ' + tail.split('\n# Data\n')[0], space)
        config = ConfigDict(space['model'])
        _switch_off_checkpointing(config)
        return _build(self.registries['DETECTORS'], config).eval()


def _switch_off_checkpointing(node: Any) -> None:
    if isinstance(node, dict):
        if 'with_cp' in node:
            node['with_cp'] = False
        for value in node.values():
            _switch_off_checkpointing(value)


def _build(registry: Registry, config: dict[str, Any], **more: Any) -> nn.Module:
    settings = dict(config)
    return registry.get(settings.pop('type'))(**settings, **more)


def _module(name: str, path: Path | None = None, **content: Any) -> None:
    module = types.ModuleType(name)
    module.__path__ = [str(path)] if path else []
    vars(module).update(content)
    sys.modules[name] = module
    parent, _, child = name.rpartition('.')
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def _same(*_: Any, **__: Any) -> Any:
    return lambda function: function


def _not_reached(*_: Any, **__: Any) -> Any:
    raise NotImplementedError


def _multi_apply(function: Any, *args: Any, **kwargs: Any) -> tuple[list, ...]:
    rows = map(functools.partial(function, **kwargs), *args)
    return tuple(map(list, zip(*rows, strict=True)))


@contextmanager
def _replaced_mmdet() -> Iterator[None]:
    def taken() -> list[str]:
        return [name for name in sys.modules if name.split('.')[0] == 'mmdet']

    real = {name: sys.modules.pop(name) for name in taken()}
    yield
    for name in taken():
        del sys.modules[name]
    sys.modules.update(real)


def _stand_in_for_mmcv() -> None:
    _module(
        'mmcv.runner',
        BaseModule=mmengine.model.BaseModule,
        ModuleList=mmengine.model.ModuleList,
        force_fp32=_same,
        auto_fp16=_same,
    )
    for name in ('xavier_init', 'constant_init', 'caffe2_xavier_init'):
        setattr(mmcv.cnn, name, getattr(mmengine.model, name))
    _module('mmcv.cnn.utils')
    _module('mmcv.cnn.utils.weight_init', constant_init=mmengine.model.constant_init)
    for name in ('build_positional_encoding', 'build_transformer_layer_sequence'):
        setattr(bricks, name, _not_reached)


def _stand_in_for_mmdet(registries: dict[str, Registry]) -> None:
    builders = {
        f'build_{kind.lower()[:-1] if kind != "LOSSES" else "loss"}': functools.partial(
            _build, registry
        )
        for kind, registry in registries.items()
    }
    for name in ('', '.utils'):
        _module(f'mmdet{name}')
    core = ('build_assigner', 'build_sampler', 'build_bbox_coder', 'bbox_mapping_back')
    unused = dict.fromkeys((*core, 'merge_aug_proposals'), _not_reached)
    _module('mmdet.core', reduce_mean=lambda x: x, multi_apply=_multi_apply, **unused)
    _module('mmdet.core.anchor')
    _module('mmdet.core.anchor.point_generator', MlvlPointGenerator=None)
    _module('mmdet.utils.contextmanagers', completed=None)
    _module('mmdet.models', **registries)
    _module('mmdet.models.builder', **registries, **builders)
    _module('mmdet.models.backbones')
    _module(
        'mmdet.models.backbones.resnet', ResNet=ResNet, BasicBlock=BasicBlock, Bottleneck=Bottleneck
    )
    _module('mmdet.models.losses')
    _module('mmdet.models.losses.utils', weight_reduce_loss=weight_reduce_loss)
    _module('mmdet.models.utils')
    _module('mmdet.models.utils.transformer', inverse_sigmoid=inverse_sigmoid)
    _module('mmdet3d.models.builder', **registries, **builders)


def _stand_in_for_mmdet3d(registries: dict[str, Registry], root: Path) -> None:
    builder = sys.modules['mmdet3d.models.builder']
    _module('mmdet3d', root)
    _module('mmdet3d.ops')
    _module('mmdet3d.ops.bev_pool_v2')
    _module('mmdet3d.ops.bev_pool_v2.bev_pool', bev_pool_v2=bev_pool_v2)
    _module('mmdet3d.datasets')
    _module('mmdet3d.datasets.semkitti', semantic_kitti_class_frequencies=None)
    _module('mmdet3d.models', root / 'models', builder=builder, **registries)
    for name in PACKAGES:
        _module(f'mmdet3d.models.{name}', root / 'models' / name.replace('.', '/'))
    for name, kind in (
        ('swin', 'SwinTransformer'),
        ('swin_bev', 'SwinTransformerBEVFT'),
        ('flash_intern_image', 'FlashInternImage'),
    ):
        _module(f'mmdet3d.models.backbones.{name}', **{kind: type(kind, (), {})})
    _module('mmdet3d.models.detectors', CenterPoint=CenterPoint)
