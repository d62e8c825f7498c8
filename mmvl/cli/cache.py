"""``mmvl cache``: compute the soft labels of a teacher once and keep them."""

import argparse

from mmengine.config import DictAction

from .config import read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the cache."""
    parser.add_argument('method', choices=['eoid'], help='whose teacher')
    parser.add_argument('config', help='training config that names teacher and dataset')
    parser.add_argument('folder', help='where the soft labels go; an unfinished cache is continued')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )


def run(args: argparse.Namespace) -> None:
    """Fill the cache.

    Raises:
        UsageError: the config or a key does not exist.
    """
    from mmvl.hoi.eoid.teacher import cache_from_config

    cache_from_config(read_config(args.config, args.cfg_options), args.folder)
