import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SOURCE = '''"""Module."""


class Box:
    """A box."""

    def area(self):
        """Area."""

    def _hidden(self, x):
        pass


def iou(a: Tensor) -> Tensor:
    """IoU.

    Args:
        a: (N, 4) boxes.
    """
    def inner():
        pass


def bare(x: int):
    return x
'''


def load():
    spec = importlib.util.spec_from_file_location('code_figures', ROOT / 'tools/code_figures.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules['code_figures'] = module
    spec.loader.exec_module(module)
    return module


def test_counts(tmp_path):
    (tmp_path / 'a.py').write_text(SOURCE)
    (tmp_path / '__init__.py').write_text('"""Package."""\n')
    figures = load().measure(sorted(tmp_path.glob('*.py')))
    assert figures.total == 26
    assert list(figures.lines.values()) == [25]
    assert (figures.documented, figures.public) == (3, 4)
    assert (figures.annotated, figures.functions) == (2, 5)
    assert (figures.shaped_docs, figures.shaped_tensor_docs, figures.tensor_docs) == (1, 1, 1)
    assert figures.longest_function[0] == 8


def test_table(tmp_path):
    module = load()
    (tmp_path / 'a.py').write_text(SOURCE)
    text = module.table(module.measure([tmp_path / 'a.py']), 13)
    assert '75% (3 of 4)' in text
    assert text.splitlines()[-1].split()[-1] == '0.52'
