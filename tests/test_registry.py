"""What a user sees who mistypes a name, and how little an import loads."""

import subprocess
import sys

import pytest

from mmvl.registry import HOOKS, MODELS, TRANSFORMS


def test_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(KeyError, match=r"'EoDI' is not in the registry 'model'.*nearest: EoID"):
        MODELS.build({'type': 'EoDI'})


def test_names_of_the_parent_are_offered_too() -> None:
    with pytest.raises(KeyError, match='nearest: CheckpointHook'):
        HOOKS.build({'type': 'ChekpointHook'})


def test_names_of_another_scope_are_offered() -> None:
    with pytest.raises(KeyError, match=r"'mmdet.ResNt'.*searched: mmdet; nearest: ResNet"):
        MODELS.build({'type': 'mmdet.ResNt'})


def test_unknown_name_without_neighbours_says_what_to_do() -> None:
    with pytest.raises(KeyError, match=r'no name is near\).\n.*\n.*custom_imports'):
        TRANSFORMS.build({'type': 'Qqqqqqqqqqq'})


def test_import_loads_neither_torch_nor_a_wing() -> None:
    code = 'import mmvl, sys; print(sorted(m for m in sys.modules if m[:4] in ("mmvl", "torc")))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mmvl']"


def test_registry_loads_no_wing() -> None:
    code = (
        'import mmvl.registry, sys; print([m for m in sys.modules if m.startswith(("mmvl.hoi", '
        '"mmdet", "mmcv", "open_clip"))])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'
