#!/usr/bin/env python
"""Train what a config describes: the same as ``mmvl train``."""

import sys

from mmvl.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('train', prog='tools/train.py'))
