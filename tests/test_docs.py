"""README and docs: links lead somewhere, paragraphs are short, and every command that is shown can be typed."""

import re
import shlex
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from own_strategy import EXAMPLE, NETS

import ablations.__main__ as studies
import cluster.__main__ as jobs
import rambo.__main__ as experiments
import tune.__main__ as searches
from ablations.paper.asked import asked_data, asked_studies, read_grid
from ablations.paper.recipes import SIZED
from cluster.inner import read_inner
from rambo.cli import parse_seeds, read_configs
from rambo.data.dataset import load_dataset
from rambo.fields import fields, in_force, override
from rambo.labelling import command as labelling
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


HELPS = {
    "rambo --help": experiments.DESCRIPTION,
    "rambo select --help": labelling.SELECT + labelling.TRAIN + labelling.PREDICT,
    "ablations run --help": studies.RUN,
    "tune run --help": searches.RUN + searches.CONFIRM,
    "cluster collect --help": jobs.COLLECT,
}


def shown():
    """The lines that may hold a command, by the page that shows them: of code blocks and of cells of tables."""
    for page in PAGES:
        text = page.read_text()
        blocks = "\n".join(re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)).replace("\\\n", " ")
        yield page.name, blocks.splitlines() + re.findall(r"\| `(python -m [^`]+)` \|", text)
    for name, text in HELPS.items():
        yield name, text.replace("\\\n", " ").splitlines()


def commands():
    """Each of them; `…` ends what is shown."""
    for page, lines in shown():
        for line in lines:
            found = re.search(rf"python -m ({'|'.join(MODULES)})\b.*", line)
            if found:
                yield pytest.param(found[0], id=f"{page}: {found[0][:60]}")


COMMANDS = list(commands())
PLANS = [one.values[0] for one in COMMANDS if "quickstart" in one.values[0] and "--plan" in one.values[0]]


@pytest.fixture
def mine(modules):
    """The strategy and the classifier of the pages, where commands that are shown look for them."""
    modules.write(EXAMPLE)
    modules.write(NETS, "nets")


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
    elif (module, kind) == ("ablations", "run") and options.recipe in SIZED:
        assert asked_data(options)
    elif (module, kind) == ("ablations", "run"):
        assert all(read_grid(one).cells for one in asked_studies(options))
    elif (module, kind) == ("tune", "run"):
        seeds = tuple(config.seed for config in read_configs(options))
        digits = override(quickstart(), {"acquisition.budget": 100})
        assert read_space(options, digits, read_settings(options, seeds).objectives).dimensions
    elif (module, kind) == ("tune", "confirm"):
        assert parse_seeds(options.seeds)
    elif kind in ("rambo", "collect") and not asks_for_help(arguments):
        assert read_configs(options)


NAMED = {"--preset", "--recipe", "--study", "--home"}
GROWS = {"--seeds", "--num-trials", "--plan", "--num-workers"}
"""Flags that the same search may be given others of."""


def told():
    """By page, each command that makes or reads a study or search: its words, its kind, what it works on."""
    for page, lines in shown():
        for line in lines:
            found = re.search(r"python -m (ablations|tune) (run|status|report|verify|sync|confirm) .*", line)
            if found and "…" not in found[0] and "$" not in found[0]:
                words = shlex.split(found[0], comments=True)
                given = {word: value for word, value in pairwise(words) if word in NAMED}
                name = given.get("--study") or given.get("--recipe") or given.get("--preset")
                yield page, words, (words[2], name, given.get("--home", "runs"))


@pytest.mark.usefixtures("mine")
def test_no_two_commands_of_a_page_want_one_name_for_different_work():
    """As a third search by another sampler that goes by the first one's name; a study may grow."""
    before = {}
    for page, words, where in told():
        if words[3] == "run":
            work = work_of(words)
            old = before.get((page, *where), work)
            assert old <= work if words[2] == "ablations" else old == work, f"{page}: {shlex.join(words)}"
            before[page, *where] = work


def work_of(words):
    """What a study runs at one seed; of a search, what its settings are."""
    if words[2] == "ablations":
        options = studies.read(words[3:])
        if options.recipe in SIZED:
            return set(asked_data(options))
        grids = [read_grid(one) for one in asked_studies(options)]
        return {replace(grid.config(cell, grid.seeds[0]), seed=0) for grid in grids for cell in grid.cells}
    flags = {pair for pair in pairwise([*words[4:], ""]) if pair[0].startswith("--")}
    return {pair for pair in flags if pair[0] not in GROWS | NAMED}


def test_what_a_command_reads_was_made_by_one_before_it_or_is_here():
    made = set()
    for page, words, where in told():
        module, name, home = where
        if words[3] == "run" and "--plan" in words:
            continue
        if words[3] == "run":
            made |= {(page, *where)} | {(page, module, f"{name}-retuned", home)}
        elif page != "tune run --help":  # which shows it apart
            kept = ROOT / home / "studies" / name / "plan.json"
            assert (page, *where) in made or kept.exists(), f"{page}: {shlex.join(words)}"


def test_mnist_is_in_a_file_after_the_three_lines_that_say_so(tmp_path, monkeypatch):
    """The last of them, on arrays of the kinds that torchvision has."""
    told = re.search(r"```python\n(import numpy, torchvision.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL)
    lines = [line for line in told[1].splitlines() if line]
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    images, labels = torch.arange(20 * 28 * 28).reshape(20, 28, 28).to(torch.uint8), torch.arange(20) % 10
    exec(lines[2], {"numpy": numpy, "part": SimpleNamespace(data=images, targets=labels)})
    found = load_dataset("npz:mnist_10k.npz", tmp_path, image_size=0)
    assert found.slug.startswith("mnist_10k-")
    assert numpy.array_equal(found.images[:, 0], images.numpy())
    assert numpy.array_equal(found.labels, labels.numpy())


def test_the_glossary_has_every_word_that_readers_met_unsaid():
    page = (ROOT / "docs/glossary.md").read_text()
    told = {word.strip() for row in re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE) for word in row.split(",")}
    unsaid = {"bilevel", "OT", "RankNet", "Eq. 4", "TOST", "M/b", "E", "û", "margin", "scout", "Holm", "S_0", "S_val"}
    assert unsaid <= told
    for name in (
        "README.md",
        *(f"docs/{page}.md" for page in ("studies", "searches", "experiments", "results", "paper")),
    ):
        assert "glossary.md" in (ROOT / name).read_text(), name


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
