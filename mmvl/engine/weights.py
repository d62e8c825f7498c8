"""Putting a state dictionary into a model, and saying clearly when it does not fit."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from mmvl.registry import MODELS

from .file_checks import CheckpointError

ROWS = 10
# Below this share of matching names a file is more likely another method's than a variant.
SAME_METHOD = 0.5


@dataclass(frozen=True)
class KeyReport:
    """How the names and shapes of a state dictionary compare with a model's.

    Attributes:
        missing: names of the model that the dictionary lacks.
        unexpected: names of the dictionary that the model lacks.
        mis_shaped: name -> (shape in the dictionary, shape in the model).
        matched: how many names agree in shape too.
    """

    missing: list[str]
    unexpected: list[str]
    mis_shaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    matched: int

    @property
    def fits(self) -> bool:
        """Whether every name and every shape agrees."""
        return not (self.missing or self.unexpected or self.mis_shaped)

    @property
    def share(self) -> float:
        """Matching names over those of the smaller side, 0-1: a backbone alone still scores 1."""
        disputed = len(self.mis_shaped)
        smaller = min(len(self.missing), len(self.unexpected))
        return self.matched / max(1, self.matched + disputed + smaller)

    def table(self) -> str:
        """List the first ten of each kind of disagreement, with counts."""
        shapes = [f'{key}: file {a}, model {b}' for key, (a, b) in self.mis_shaped.items()]
        lines = [f'{self.matched} names match ({self.share:.0%})']
        for title, rows in (
            ('missing in the file', self.missing),
            ('unknown to the model', self.unexpected),
            ('of another shape', shapes),
        ):
            if rows:
                lines.append(f'{len(rows)} {title}:')
                lines += [f'    {row}' for row in rows[:ROWS]]
                lines += [f'    ... and {len(rows) - ROWS} more'] * (len(rows) > ROWS)
        return '\n'.join(lines)


def unwrapped(model: nn.Module) -> nn.Module:
    """Take a model out of the wrapper of a distributed run, if it is in one."""
    return cast(nn.Module, model.module) if is_model_wrapper(model) else model


def compare_keys(model: nn.Module, state: Mapping[str, Tensor]) -> KeyReport:
    """Compare the names and shapes of a state dictionary with a model's, changing neither."""
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(value.shape) for key, value in state.items()}
    both = wanted.keys() & given.keys()
    return KeyReport(
        missing=[key for key in wanted if key not in given],
        unexpected=[key for key in given if key not in wanted],
        mis_shaped={
            k: (given[k], wanted[k]) for k in wanted if k in both and given[k] != wanted[k]
        },
        matched=sum(given[key] == wanted[key] for key in both),
    )


def recognise_method(names: Iterable[str]) -> str:
    """Say whose checkpoint it is, as far as the registered methods know.

    A model class may have ``layouts``: name of a layout -> prefixes of the names in its files.

    Args:
        names: of a state dictionary.

    Returns:
        Such as 'EoID (94 % of the names)'; empty where no layout covers half of
        them, or half of a layout's prefixes do not occur.
    """
    keys = list(names)
    shares = {
        layout: sum(key.startswith(prefixes) for key in keys) / len(keys)
        for kind in MODELS.module_dict.values()
        for layout, prefixes in getattr(kind, 'layouts', {}).items()
        # a backbone alone is part of many methods
        if sum(any(key.startswith(p) for key in keys) for p in prefixes) > len(prefixes) / 2
    }
    best = max(shares, key=lambda layout: shares[layout], default='')
    if not best or shares[best] < SAME_METHOD:
        return ''
    return f'{best} ({shares[best]:.0%} of the names)'


def load_weights(model: nn.Module, state: Mapping[str, Tensor], strict: bool = True) -> KeyReport:
    """Fill a model from a state dictionary.

    Args:
        model: the model to fill, in place.
        state: name -> tensor of any shape.
        strict: every name and shape must agree. Otherwise what agrees is loaded and the rest is
            logged, which is what fine-tuning from another training wants.

    Returns:
        What agreed and what did not.

    Raises:
        CheckpointError: strict and something disagrees, or fewer than half of the names match,
            which means a checkpoint of another method. The model is unchanged.
    """
    report = compare_keys(model, state)
    if report.share < SAME_METHOD:
        method = recognise_method(state) or 'another method or another size of model'
        raise CheckpointError(
            f'this looks like a checkpoint of {method}: {report.table()}\n'
            'What to do: use the config that it was trained with, or convert it '
            "first (see 'mmvl convert --help')."
        )
    if strict and not report.fits:
        raise CheckpointError(
            f'the checkpoint does not fit the model: {report.table()}\n'
            'What to do: use the config that it was trained with.'
        )
    if not report.fits:
        print_log(f'loading what fits: {report.table()}', logger='current', level=30)
    fitting = {key: value for key, value in state.items() if key not in report.mis_shaped}
    model.load_state_dict(fitting, strict=False)
    return report
