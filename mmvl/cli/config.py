"""Reading a config, with command-line changes that cannot be misspelt in silence."""

import difflib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from .errors import UsageError

# Top-level keys that MMEngine reads from the config without naming them in its constructor.
ALSO_KNOWN = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
KNOWN = ALSO_KNOWN | set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}


def read_config(
    path: str, options: dict[str, Any] | None = None, work_dir: str | None = None
) -> Config:
    """Read a config file and apply what the command line changes.

    Args:
        path: the file.
        options: dotted key -> value, from ``--cfg-options``. A top-level variable that the file
            hands on under its own name, such as ``data_root``, is changed wherever it went, and
            so is the beginning of paths below it.
        work_dir: where results go; without it the config's, then ``./work_dirs/<config name>``.

    Returns:
        The config with ``work_dir`` set.

    Raises:
        UsageError: no such file, or a key that the config has no place for.
    """
    if not Path(path).is_file():
        raise UsageError(f"the config '{path}' does not exist.\nWhat to do: {_near_files(path)}")
    config = Config.fromfile(path)
    apply_options(config, options or {})
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        config.work_dir = str(Path('work_dirs') / Path(path).stem)
    return config


def apply_options(config: Config, options: dict[str, Any]) -> None:
    """Change a config in place by dotted keys.

    Raises:
        UsageError: a key has no parent in the config; the message names the nearest key.
    """
    for key, value in options.items():
        _require_place(config, key)
        copies = dict.fromkeys(_copies(config, key), value)
        copies.update(_paths_below(config, key, value))
        config.merge_from_dict({key: value})
        for place, new in copies.items():
            *above, last = place.split('.')
            node: Any = config
            for part in above:
                node = node[int(part) if isinstance(node, (list, tuple)) else part]
            node[int(last) if isinstance(node, list) else last] = new


def _require_place(config: Config, key: str) -> None:
    parts = key.split('.')
    if parts[0] not in config:
        if parts[0] in KNOWN:
            return
        raise UsageError(_unknown(config, key, parts[0], sorted({*config, *KNOWN}), ''))
    node: Any = config[parts[0]]
    for depth, part in enumerate(parts[1:], start=1):
        above = '.'.join(parts[:depth])
        if isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                raise UsageError(
                    f"--cfg-options {key}: '{above}' is a list of {len(node)}.\n"
                    f'What to do: use an index from 0 to {len(node) - 1}.'
                )
            node = node[int(part)]
        elif isinstance(node, dict):
            if part not in node:
                if depth == len(parts) - 1:
                    return  # an argument that the config leaves at its default
                raise UsageError(_unknown(config, key, part, list(node), above))
            node = node[part]
        else:
            raise UsageError(
                f"--cfg-options {key}: '{above}' is {node!r} and has no parts.\n"
                f"What to do: set '{above}' itself."
            )


def _unknown(config: Config, key: str, part: str, siblings: Sequence[str], above: str) -> str:
    rest = key.split('.')[key.split('.').index(part) + 1 :]
    near = difflib.get_close_matches(part, siblings, n=1, cutoff=0.6)
    if near:
        nearest = '.'.join(filter(None, [above, near[0], *rest]))
    else:
        everywhere = [path for path, _ in _walk(config)]
        same_leaf = [path for path in everywhere if path.split('.')[-1] == key.split('.')[-1]]
        close = difflib.get_close_matches(key, everywhere, n=1, cutoff=0.3)
        nearest = next(iter(same_leaf or close), 'none')
    return (
        f"--cfg-options {key}: the config has no '{'.'.join(filter(None, [above, part]))}'.\n"
        f"What to do: the nearest key is '{nearest}'."
    )


def _copies(config: Config, key: str) -> list[str]:
    """Find where a top-level variable was handed on under its own name."""
    if key not in config or key in KNOWN:
        return []
    old = config[key]
    return [p for p, v in _walk(config) if p != key and p.split('.')[-1] == key and v == old]


def _paths_below(config: Config, key: str, value: Any) -> dict[str, str]:
    """Find paths that begin with a top-level folder, such as ``data_root``, and move them."""
    old = config.get(key) if key not in KNOWN else None
    if not (isinstance(old, str) and old.endswith('/') and isinstance(value, str)):
        return {}
    below = [(p, v) for p, v in _walk(config) if isinstance(v, str) and v.startswith(old)]
    return {
        place: value.rstrip('/') + '/' + path[len(old) :] for place, path in below if path != old
    }


def _walk(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(node, (Config, ConfigDict, dict)):
        items: Any = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        path = f'{prefix}{key}'
        yield path, value
        yield from _walk(value, f'{path}.')


def _near_files(path: str) -> str:
    found = [str(file) for file in Path('configs').rglob('*.py') if '_base_' not in file.parts]
    near = difflib.get_close_matches(path, found, n=3, cutoff=0.5)
    return f'the nearest are {", ".join(near)}.' if near else 'check the path; see configs/.'
