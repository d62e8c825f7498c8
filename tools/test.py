#!/usr/bin/env python
"""Measure a checkpoint: the same as ``mmvl test``."""

import sys

from mmvl.cli.main import run_command

if __name__ == '__main__':
    sys.exit(run_command('test', prog='tools/test.py'))
