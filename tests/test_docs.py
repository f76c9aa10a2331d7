"""README and docs: links lead somewhere, paragraphs are short, and every command that is shown can be typed."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
from own_strategy import EXAMPLE

from ablations.__main__ import read_grid
from cluster.inner import read_inner
from rambo.cli import parse_seeds, read_configs
from rambo.fields import fields, in_force, override
from rambo.presets import quickstart
from rambo.strategies.facts import STRATEGIES
from tune.__main__ import read_settings, read_space

ROOT = Path(__file__).parents[1]
PAPER = (ROOT / "docs/paper.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
MODULES = ("rambo", "cluster", "tune", "ablations", "benchmarks")


def name(page):
    return str(page.relative_to(ROOT))


def anchor(heading):
    """As GitHub makes one of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_something(page):
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} in {name(page)}"
        if fragment:
            assert fragment in map(anchor, HEADING.findall(there.read_text())), f"{target} in {name(page)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_paragraph_is_longer_than_five_lines(page):
    text = re.sub(r"```.*?```", "\n", page.read_text(), flags=re.DOTALL)
    for part in re.split(r"\n\s*\n|\n(?=- )|(?<=\n)#.*\n", text):
        lines = [line for line in part.strip().splitlines() if not line.startswith("|")]
        assert len(lines) <= 5, f"{name(page)}: {lines[0]}"


def test_the_first_screen_has_what_it_is_a_picture_and_the_two_commands():
    first = (ROOT / "README.md").read_text().splitlines()[:35]
    assert any(line.startswith("![") for line in first)
    assert [line.split("#")[0].strip() for line in first if line.startswith("make ")] == ["make demo", "make test"]


def commands():
    """Every command of ours in a code block, or in the cell of a table, without its comment; `…` ends what is shown."""
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
        shown = blocks.splitlines() + re.findall(r"\| `(python -m [^`]+)` \|", text)
        for line in shown:
            found = re.search(rf"python -m ({'|'.join(MODULES)})\b.*", line)
            if found:
                yield pytest.param(found[0], id=f"{page.name}: {found[0][:60]}")


COMMANDS = list(commands())
PLANS = [one.values[0] for one in COMMANDS if "quickstart" in one.values[0] and "--plan" in one.values[0]]


@pytest.fixture
def mine(modules):
    """The strategy of the page, where commands that are shown look for it."""
    modules.write(EXAMPLE)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_typed(command):
    """By its own parser; what it asks for is a configuration that can be."""
    words = shlex.split(command.replace("$FLAGS", "--preset paper_mnist"), comments=True)
    words = words[: words.index("…")] if "…" in words else words
    words = words[: words.index("|")] if "|" in words else words
    module, arguments = words[2], words[3:]
    if module == "benchmarks":
        assert (ROOT / "benchmarks" / f"{arguments[0]}.py").exists() or arguments[0] == "all"
        return
    options = import_module(f"{module}.__main__").read(without_help(arguments))
    kind = getattr(options, "command", "rambo")
    if module == "cluster" and kind == "submit":
        if len(options.inner) > 4:
            assert read_inner([*options.inner, *([] if "--home" in options.inner else ["--home=/shared/runs"])])
    elif (module, kind) == ("ablations", "run"):
        assert read_grid(options).cells
    elif (module, kind) == ("tune", "run"):
        seeds = tuple(config.seed for config in read_configs(options))
        digits = override(quickstart(), {"acquisition.budget": 100})
        assert read_space(options, digits, read_settings(options, seeds).objectives).dimensions
    elif (module, kind) == ("tune", "confirm"):
        assert parse_seeds(options.seeds)
    elif kind in ("rambo", "collect") and not asks_for_help(arguments):
        assert read_configs(options)


def asks_for_help(arguments):
    return "--help" in arguments


def without_help(arguments):
    """Help would end the process; that it is there is told by the preset in its place."""
    return [
        *(word for word in arguments if word != "--help"),
        *(["--preset=quickstart"] if "--help" in arguments else []),
    ]


@pytest.mark.parametrize(
    "command",
    [
        command.values[0]
        for command in commands()
        if "quickstart" in command.values[0] and "--plan" in command.values[0]
    ],
)
def test_plans_that_are_shown_are_printed(command, tmp_path, capsys):
    words = shlex.split(command, comments=True)
    import_module(f"{words[2]}.__main__").main([*words[3:], f"--home={tmp_path}"])
    assert capsys.readouterr().out


def test_every_departure_from_the_paper_stands_on_its_page_and_in_the_code():
    told = re.findall(r"\[([a-z-]+)\](?!\()", PAPER)
    code = "".join(path.read_text() for path in sorted((ROOT / "rambo").rglob("*.py")))
    tagged = re.findall(r"\bDeviation\b(?:\[([a-z-]+)\])?", code)
    assert "" not in tagged, "a Deviation in the code has a name"
    assert sorted(tagged) == sorted(set(tagged)) == sorted(name for name in told if name != "name")


def test_what_the_page_on_the_paper_names_is_there():
    for path in re.findall(r"`((?:rambo|ablations)/[\w/]+\.py)`", PAPER):
        assert (ROOT / path).exists(), path
    section = "data|classifier|training|offline|pretraining|utility|utility_model|switches|acquisition|evaluation"
    named = re.findall(rf"`(?:--factor )?((?:{section})\.\w+)", PAPER)
    assert len(named) > 20
    assert [name for name in named if name not in fields()] == []


def test_the_page_of_strategies_lists_each_with_whose_labels_it_sees():
    page, listed = (ROOT / "docs/strategies.md").read_text(), {}
    for names, seen in re.findall(r"^\| (`[^|]+) \|[^|]+\| ([^|]+) \|$", page, re.MULTILINE):
        listed |= dict.fromkeys(re.findall(r"`(\w+)`", names), seen.split(",")[0])
    words = {(False, False): "no", (False, True): "by the scout", (True, True): "yes"}
    assert listed == {name: words[sees(name, "seed"), sees(name, "seed_and_validation")] for name in STRATEGIES}


def sees(strategy, scout):
    config = override(quickstart(), {"strategy": strategy, "acquisition.scout": scout})
    return in_force(config).sees_validation_labels
