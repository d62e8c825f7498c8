#!/usr/bin/env python
"""Count what can be counted about the code: sizes, documentation, annotations, tests.

``tools/code_figures.py [--package mmvl] [--tests tests] [--trace FILE...]`` prints a table. With
``--trace`` it also counts the named files, for "what does one read to follow X".
"""

import argparse
import ast
import re
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
# "(N, 4)", "(B, N, C)", "(117,)", "(3, H, W)": at least one comma, only names and numbers
SHAPE = re.compile(
    r'\(\s*(?:[A-Z][A-Za-z0-9_]*|\d+)\s*(?:,\s*(?:[A-Z][A-Za-z0-9_]*|\d+)\s*)*,?\s*\)'
)
TENSORS = re.compile(r'Tensor|ndarray')


@dataclass
class Figures:
    """Counts over a set of files.

    Attributes:
        lines: physical lines of each file, ``__init__.py`` left out.
        total: physical lines of all files.
        public: public classes, functions and methods.
        documented: those of them that have a docstring.
        functions: all functions and methods.
        annotated: those with at least one annotation.
        tensor_docs: docstrings of public functions that take or return tensors or arrays.
        shaped_docs: docstrings that name a shape.
        shaped_tensor_docs: docstrings of ``tensor_docs`` that name one.
        longest_function: lines of the longest function, with its name.
    """

    lines: dict[Path, int] = field(default_factory=dict)
    total: int = 0
    public: int = 0
    documented: int = 0
    functions: int = 0
    annotated: int = 0
    tensor_docs: int = 0
    shaped_docs: int = 0
    shaped_tensor_docs: int = 0
    longest_function: tuple[int, str] = (0, '')


def measure(files: Sequence[Path]) -> Figures:
    """Count over Python files."""
    figures = Figures()
    for file in files:
        text = file.read_text()
        count = text.count('\n')
        figures.total += count
        if file.name != '__init__.py':
            figures.lines[file] = count
        for node, public in _definitions(ast.parse(text)):
            _count(figures, node, public, file)
    return figures


def _definitions(tree: ast.AST, public: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            seen = public and not node.name.startswith('_')
            yield node, seen
            # what is defined inside a function is nobody's interface
            yield from _definitions(node, seen and isinstance(node, ast.ClassDef))
        else:
            yield from _definitions(node, public)


def _count(figures: Figures, node: ast.AST, public: bool, file: Path) -> None:
    assert isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    text = ast.get_docstring(node) or ''
    if public:
        figures.public += 1
        figures.documented += bool(text)
        figures.shaped_docs += bool(SHAPE.search(text))
    if isinstance(node, ast.ClassDef):
        return
    notes = [ast.unparse(note) for note in _annotations(node)]
    figures.functions += 1
    figures.annotated += bool(notes)
    if public and text and any(TENSORS.search(note) for note in notes):
        figures.tensor_docs += 1
        figures.shaped_tensor_docs += bool(SHAPE.search(text))
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    figures.longest_function = max(figures.longest_function, (length, f'{file}:{node.name}'))


def _annotations(node: Function) -> list[ast.expr]:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [each for each in (node.args.vararg, node.args.kwarg) if each]
    notes = [each.annotation for each in arguments if each.annotation]
    return [*notes, node.returns] if node.returns else notes


def table(figures: Figures, test_lines: int) -> str:
    """Lay the counts out, one figure a line."""
    sizes = sorted(figures.lines.values()) or [0]
    p90 = sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))]
    longest = max(figures.lines, key=lambda file: figures.lines[file], default='-')
    rows = {
        'files (without __init__.py)': f'{len(figures.lines)}',
        'lines': f'{figures.total:,}',
        'lines per file: median / p90 / max': (
            f'{statistics.median(sizes):.0f} / {p90} / {sizes[-1]} ({longest})'
        ),
        'longest function': '{} lines ({})'.format(*figures.longest_function),
        'documented (public)': _percent(figures.documented, figures.public),
        'annotated (functions)': _percent(figures.annotated, figures.functions),
        'docstrings that name a shape': _percent(figures.shaped_docs, figures.documented),
        '  of those about tensors': _percent(figures.shaped_tensor_docs, figures.tensor_docs),
        'test lines per code line': f'{test_lines / max(1, figures.total):.2f}',
    }
    width = max(map(len, rows))
    return '\n'.join(f'{name:<{width}}  {value}' for name, value in rows.items())


def _percent(part: int, whole: int) -> str:
    return f'{part / whole:.0%} ({part} of {whole})' if whole else '-'


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--package', type=Path, default=Path('mmvl'))
    parser.add_argument('--tests', type=Path, default=Path('tests'))
    parser.add_argument('--trace', type=Path, nargs='+', default=[], metavar='FILE')
    args = parser.parse_args(arguments)
    tests = sum(file.read_text().count('\n') for file in args.tests.rglob('*.py'))
    sys.stdout.write(table(measure(sorted(args.package.rglob('*.py'))), tests) + '\n')
    if args.trace:
        lines = sum(file.read_text().count('\n') for file in args.trace)
        sys.stdout.write(f'to read for the trace: {len(args.trace)} files, {lines:,} lines\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
