"""The documentation is true: its samples run, its commands parse, what it names exists."""

import argparse
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmvl.cli.config import read_config
from mmvl.cli.main import COMMANDS
from mmvl.engine import save_safetensors
from mmvl.hoi.toy import write_world
from mmvl.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted(ROOT.glob('configs/*/README.md')),
    *sorted(ROOT.glob('docs/*.md')),
]
FENCE = re.compile(r'^```([^\n]*)\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r'`([^`\n]+)`')
PATH = re.compile(r'(?<![\w./<-])((?:configs|tools|mmvl|tests|benchmarks|docs)/[\w./-]*\w)')
# name of a script -> the command whose options it takes, positionals of its own at the front, and
# the place of the number of processes, which it takes out
SCRIPTS = {
    'tools/train.py': ('train', 0, None),
    'tools/test.py': ('test', 0, None),
    'tools/dist_train.sh': ('train', 0, 1),
    'tools/dist_test.sh': ('test', 0, 2),
    'tools/slurm_train.sh': ('train', 2, None),
    'tools/slurm_test.sh': ('test', 2, None),
}


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of the fenced blocks of a language."""
    text = page.read_text()
    return [
        (text.count('\n', 0, match.start(2)), match[2])
        for match in FENCE.finditer(text)
        if match[1].strip() == language
    ]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every command of every bash block, as words, with where it stands."""
    for page in PAGES:
        for line, block in blocks(page, 'bash'):
            for command in block.replace('\\\n', ' ').splitlines():
                words = shlex.split(command.split(' > ')[0], comments=True)
                while words and ('=' in words[0] or words[0] in ('python', 'sudo')):
                    words.pop(0)
                if words:
                    yield f'{page_id(page)}:{line}', words


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f'mmvl {command}', exit_on_error=False)
    importlib.import_module(f'mmvl.cli.{COMMANDS[command][0]}').add_arguments(parser)
    parser.add_argument('--debug', action='store_true')
    return parser


def known_options() -> set[str]:
    parsers = [parser_of(command) for command in COMMANDS]
    return {option for parser in parsers for option in parser._option_string_actions}


@pytest.fixture(scope='module')
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has after `make quickstart`, with a small world and an untrained model."""
    folder = tmp_path_factory.mktemp('reader')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    write_world(folder / 'data/toy_hoi', num_train=4, num_test=6)
    Image.open(folder / 'data/toy_hoi/images/test2015/HICO_test2015_00000001.jpg').save(
        folder / 'photo.jpg'
    )
    config = Config.fromfile(ROOT / 'configs/eoid/toy_ua.py')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    work_dir = folder / 'work_dirs/toy_ua_seed0'
    work_dir.mkdir(parents=True)
    epochs = config.train_cfg.max_epochs
    torch.save({'state_dict': model.state_dict()}, work_dir / f'epoch_{epochs}.pth')
    (folder / 'ckpt').mkdir()
    save_safetensors(model.state_dict(), folder / 'ckpt/toy.safetensors')
    return folder


@pytest.mark.parametrize('page', [p for p in PAGES if blocks(p, 'python')], ids=page_id)
def test_python_samples_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other in one namespace, as they are read."""
    monkeypatch.chdir(workplace)
    namespace: dict[str, object] = {'__name__': 'sample'}
    for line, block in blocks(page, 'python'):
        exec(compile('\n' * line + block, page_id(page), 'exec'), namespace)
    if page.name == 'README.md':
        result = namespace['results'][0]  # type: ignore[index]
        assert (result['width'], result['height']) == (128, 128)
        assert (workplace / 'out/vis/HICO_test2015_00000001.jpg').is_file()
        assert (workplace / 'out/predictions.json').is_file()


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_blocks_are_of_known_kinds(page: Path) -> None:
    """No sample escapes the tests by another name of its language, or by indentation."""
    text = page.read_text()
    kinds = {match[1].strip() for match in FENCE.finditer(text)}
    assert kinds <= {'python', 'bash', 'text'}
    assert text.count('```') == 2 * len(FENCE.findall(text))


def test_commands_parse() -> None:
    """Options and choices exist, positionals are complete, config keys have a place."""
    count = 0
    for where, words in command_lines():
        program, arguments = words[0], words[1:]
        if program == 'mmvl':
            command = arguments.pop(0)
        elif program in SCRIPTS:
            command, front, processes = SCRIPTS[program]
            assert (ROOT / program).is_file(), where
            arguments = arguments[front:]
            if processes is not None:
                assert arguments.pop(processes).isdigit(), where
        else:
            continue
        try:
            args = parser_of(command).parse_args(arguments)
        except (SystemExit, argparse.ArgumentError) as error:
            pytest.fail(f'{where}: {" ".join(words)}: {error}')
        config = getattr(args, 'config', None)
        if config is not None:
            read_config(str(ROOT / config), args.cfg_options)
        count += 1
    assert count > 25


def test_other_commands_exist() -> None:
    """Make targets are in the Makefile, Python scripts in tools/; nothing else is called."""
    targets = set(re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    for where, words in command_lines():
        if words[0] == 'make':
            assert set(words[1:]) <= targets, where
        elif words[0] == 'tools/quickstart.py':
            spec = importlib.util.spec_from_file_location('quickstart', ROOT / words[0])
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            settings = words[words.index('--settings') + 1 :]
            assert set(settings) == set(module.SETTINGS), where
            assert str(module.work_dir('ua', 'eoid', 0)) == 'work_dirs/toy_ua_seed0'
        else:
            assert words[0] in {'mmvl', 'apt-get', *SCRIPTS}, f'{where}: {words[0]}'


@pytest.mark.parametrize('page', PAGES, ids=page_id)
def test_named_things_exist(page: Path) -> None:
    """Paths of the repository, commands, options and make targets in running text."""
    text = page.read_text()
    missing = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    known = known_options()
    targets = set(re.findall(r'^(\w+):', (ROOT / 'Makefile').read_text(), re.MULTILINE))
    for span in CODE_SPAN.findall(FENCE.sub('', text)):
        words = span.split()
        if words[0] == 'mmvl' and len(words) > 1:
            missing += [span] if words[1] not in COMMANDS else []
        if words[0] == 'make':
            missing += [span] if words[1] not in targets else []
        missing += [w for w in words if w.startswith('--') and w.rstrip(',') not in known]
    assert not missing


def test_site_builds(tmp_path: Path) -> None:
    """Links, anchors, pictures and included sections are all there (strict)."""
    # not -q: a warning that is not shown is not counted
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / 'eoid/index.html').read_text()
    assert '41,676,432' in page and '--8&lt;--' not in page
