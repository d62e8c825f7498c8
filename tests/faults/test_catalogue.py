"""The table of faults names a test for each, and the test exists."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_every_fault_has_its_test_or_is_listed_as_open():
    page = (HERE / 'README.md').read_text()
    table, still_open = page.split('## Open')
    rows = dict(re.findall(r'^\| F(\d\d) \|.*\| `(\w+\.py)` \|$', table, flags=re.MULTILINE))
    assert set(rows) | set(re.findall(r'^- F(\d\d)', still_open, flags=re.MULTILINE)) == {
        f'{number:02d}' for number in range(1, 37)
    }
    for number, name in rows.items():
        found = re.findall(rf'def test_f{number}_', (HERE / name).read_text())
        assert found, f'{name} has no test of F{number}'
