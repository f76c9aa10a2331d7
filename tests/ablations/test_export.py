"""A study as a supplement's folder, held to its trials."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.__main__ import main
from ablations.export import export_differences, exported, write_export
from ablations.factors import Factor
from ablations.plans import existing_plan, named_study
from ablations.run import Reporting
from rambo.errors import InvalidInput
from rambo.home import Home

RECORDS = Path(__file__).parents[2] / "benchmarks/records/strategies"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two strategies and two seeds of the recorded study."""
    root, whole = tmp_path_factory.mktemp("exported"), existing_plan(Home(RECORDS), "strategies")
    cells = whole.grid.cells[:2]
    grid = replace(whole.grid, cells=cells, seeds=(0, 1), factors=(Factor("strategy", ("rambo", "random")),))
    keys = [(cell.name, seed) for cell in cells for seed in (0, 1)]
    plan = replace(whole, grid=grid, folders={key: whole.folders[key] for key in keys})
    for folder in plan.folders.values():
        shutil.copytree(RECORDS / folder, root / folder)
    named_study("strategies", Home(root)).keep({"plan.json": plan.to_bytes()})
    return Home(root)


@pytest.fixture(scope="module")
def supplement(home, tmp_path_factory):
    """What the command makes of it."""
    to = tmp_path_factory.mktemp("supplement")
    main(["export", "--study", "strategies", "--home", home.root, "--to", str(to), "--quiet"])
    return to


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_tables_figures_trials_and_how_to_check_them(supplement):
    found = content(supplement)
    assert {f"tables/{one}.tex" for one in ("table", "effects", "rivals", "ranks")} <= set(found)
    assert {f"figures/{one}.pdf" for one in ("cells", "effects", "labels", "ranks")} <= set(found)
    assert not any(name.endswith((".png", ".html")) for name in found)
    trials = list(csv.DictReader(io.StringIO(found["data/trials.csv"].decode())))
    assert [(row["strategy"], row["seed"], row["test_accuracy"]) for row in trials][:2] == [
        ("rambo", "0", kept_accuracy("rambo", "0")),
        ("rambo", "1", kept_accuracy("rambo", "1")),
    ]
    readme = found["README.md"].decode()
    assert "torch: 2." in readme
    assert "python -m ablations verify --study strategies --home HOME --exported FOLDER" in readme
    assert all(f"`{name}`" in readme for name in found)
    assert "/work" not in readme
    assert "/tmp" not in readme


def kept_accuracy(strategy, seed):
    with (RECORDS / "studies/strategies/trials.csv").open() as file:
        [row] = [r for r in csv.DictReader(file) if (r["strategy"], r["seed"]) == (strategy, seed)]
    return row["test_accuracy"]


def test_every_line_of_a_table_but_comments_is_plain_latex(supplement):
    for path in (supplement / "tables").iterdir():
        lines = path.read_text().splitlines()
        plain = [line for line in lines if not line.startswith("%")]
        assert "".join(plain).isascii(), path.name
        columns = plain[0].removeprefix(r"\begin{tabular}{").removesuffix("}")
        assert {line.count(" & ") for line in plain if line.endswith(r"\\")} == {len(columns) - 1}, path.name


def test_verify_names_whatever_was_changed(home, supplement, tmp_path, capsys):
    to = tmp_path / "copy"
    shutil.copytree(supplement, to)
    trials = (to / "data/trials.csv").read_text()
    (to / "data/trials.csv").write_text(trials.replace(kept_accuracy("rambo", "0"), "0.99", 1))
    (to / "tables/ranks.tex").unlink()
    (to / "figures/mine.pdf").write_bytes(b"%PDF")
    (to / "tables/deeper").mkdir()
    (to / "tables/deeper/fake.tex").write_text("x")
    with pytest.raises(InvalidInput, match="must agree with its trial folders"):
        main(["verify", "--study", "strategies", "--home", home.root, "--exported", str(to), "--quiet"])
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(to))]
    assert sorted(said) == [
        f"{to}/data/trials.csv is not what the trial folders give.",
        f"{to}/figures/mine.pdf is no file of the export.",
        f"{to}/tables/deeper/fake.tex is no file of the export.",
        f"{to}/tables/ranks.tex is missing.",
    ]


def test_the_commands_judge_as_the_report_did_and_say_where_the_data_are(home, tmp_path):
    plan = existing_plan(home, "strategies")
    readme = exported(plan, home, Reporting(0.01, reason="a point"))["README.md"].decode()
    assert " --margin 1 --margin-reason 'a point' --home HOME" in readme
    assert "verify --study strategies --home HOME --retrain 5 --data.source npz:mnist_10k.npz" in readme
    assert "--margin" not in exported(plan, home, Reporting())["README.md"].decode()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["export", "--to", ""], "^--to must name"),
        (["export", "--to", "{}/file"], r"file/README\.md must be readable.* choose another --to"),
        (
            ["verify", "--exported", "{}/nothing"],
            r"^--exported must name a folder that export has made, got ",
        ),
    ],
)
def test_a_folder_that_is_none_is_one_sentence_of_its_own_flag(home, tmp_path, words, sentence):
    (tmp_path / "file").write_text("x")
    command, *rest = (word.format(tmp_path) for word in words)
    with pytest.raises(InvalidInput, match=sentence):
        main([command, "--study", "strategies", "--home", home.root, *rest, "--quiet"])


def test_a_second_export_writes_nothing_and_agrees(supplement):
    files, there = content(supplement), Home(supplement)
    before = {path: path.stat().st_mtime_ns for path in supplement.rglob("*")}
    write_export(files, "strategies", there)
    assert {path: path.stat().st_mtime_ns for path in supplement.rglob("*")} == before
    assert export_differences(files, there) == []


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidInput, match="--to must name a new or empty folder"):
        write_export({"README.md": b"x"}, "strategies", Home(tmp_path))
    (tmp_path / "README.md").write_text("# Supplement of the study strategies-2\n")
    with pytest.raises(InvalidInput, match="an earlier export of strategies, got"):
        write_export({"README.md": b"x"}, "strategies", Home(tmp_path))


def test_what_an_earlier_export_lists_and_this_one_has_not_is_removed(tmp_path):
    there, first = Home(tmp_path), {"README.md": b"# Supplement of the study s\n", "tables/table.tex": b"x"}
    listed = b"".join(b"- `%s`: text\n" % name for name in (b"README.md", b"tables/table.tex", b"tables/ranks.tex"))
    write_export({**first, "README.md": first["README.md"] + listed, "tables/ranks.tex": b"old"}, "s", there)
    there.write("tables/mine.tex", b"mine")
    write_export(first, "s", there)
    assert there.list("tables") == ["mine.tex", "table.tex"]
    assert export_differences(first, there) == [f"{tmp_path}/tables/mine.tex is no file of the export."]
