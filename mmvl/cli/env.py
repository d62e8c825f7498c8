"""``mmvl env``: say what is installed, built and found, and what to do about the rest."""

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of the report."""
    parser.add_argument('--data-root', default='data', metavar='DIR', help='default: data')
    parser.add_argument('--json', action='store_true', help='print a JSON list instead of a table')


def run(args: argparse.Namespace) -> None:
    """Print the report."""
    from mmvl.engine.environment import environment_report, format_report, report_as_dicts

    findings = environment_report(args.data_root)
    if args.json:
        text = json.dumps(report_as_dicts(findings), indent=2)
    else:
        text = format_report(findings)
    sys.stdout.write(f'{text}\n')
