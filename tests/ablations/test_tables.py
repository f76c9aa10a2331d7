"""The files of a study: the same bytes each time, complete, escaped, and honest about what is missing."""

import base64
import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ablations.factors import parse_factor, switches
from ablations.figures import curves_over_labels
from ablations.records import cells_csv
from ablations.report import render
from ablations.sentences import effect_sentence, p_value, provenance, sentences
from ablations.statistics import analyse
from ablations.study import Study
from ablations.tables import cell_table, latex, tex
from rambo.errors import InvalidInput
from rambo.formats import points
from rambo.randomness import numpy_generator

NAMES = {
    "table.md",
    "table.tex",
    "table.csv",
    "effects.csv",
    "trials.csv",
    "sentences.txt",
    "figures/cells.png",
    "figures/effects.png",
    "figures/labels.png",
    "report.html",
}


def noisy(cell, seed):
    gain = 0.02 * bool(cell.level("switches.ranknet")) + 0.004 * bool(cell.level("switches.bilevel"))
    return 0.9 + gain + 0.003 * numpy_generator(0, cell.name, seed).normal()


def holed(cell, seed):
    """One trial failed, one is missing."""
    if (cell.name, seed) == ("bilevel=on OT=on RankNet=on", 3):
        return "The classifier's loss was not a number & more."
    return None if (cell.name, seed) == ("margin", 5) else noisy(cell, seed)


def rows(content):
    return list(csv.DictReader(io.StringIO(content.decode())))


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(noisy)


@pytest.fixture(scope="module")
def files(study):
    return render(study)


@pytest.fixture(scope="module")
def holed_files(make_study):
    return render(make_study(holed), allow_mixed=True)


# --- bytes --------------------------------------------------------------------------------------------------------


def test_the_same_trials_give_the_same_bytes_in_whatever_order_they_finished(study, files):
    assert set(files) == NAMES
    reverse = Study(study.name, study.grid, dict(reversed(study.outcomes.items())), {})
    assert render(reverse) == files
    assert render(study, allow_mixed=True) == files, "nothing is mixed, so nothing is marked"


def test_another_accuracy_gives_other_tables(study, files):
    key = next(iter(study.outcomes))
    changed = {**study.outcomes, key: replace(study.outcomes[key], test_accuracy=0.5)}
    other = render(replace(study, outcomes=changed))
    assert all(other[name] != files[name] for name in NAMES)


def test_cells_that_cannot_be_compared_are_refused_or_marked_on_every_table(make_study, holed_files):
    with pytest.raises(InvalidInput, match="must have the same seeds"):
        render(make_study(holed))
    mark = "seeds 0–2, 4–9 in 1 cell"
    for name in ("table.md", "table.tex", "sentences.txt", "report.html"):
        assert mark in holed_files[name].decode(), name


def test_a_study_without_results_has_tables_that_say_so(make_study):
    empty = render(make_study(lambda cell, seed: None), allow_mixed=True)
    assert empty["table.md"].decode().count("| 0 of 10 | missing | missing |") == 11
    assert "110 of 110 trials have no result" in empty["sentences.txt"].decode()
    assert {row["status"] for row in rows(empty["trials.csv"])} == {"missing"}


# --- CSV ----------------------------------------------------------------------------------------------------------


def test_trials_csv_holds_every_trial_in_full(study, files):
    read = rows(files["trials.csv"])
    assert len(read) == 11 * 10
    for row in read:
        outcome = study.outcomes[row["cell"], int(row["seed"])]
        assert float(row["test_accuracy"]) == outcome.test_accuracy
        assert float(row["val_accuracy"]) == outcome.val_accuracy
        assert (row["config_id"], row["commit"], row["data"]) == (outcome.config_id, outcome.commit, outcome.data)
        assert int(row["training_version"]) == outcome.training_version
    assert {(row["strategy"], row["switches.ot"]) for row in read if row["is_control"] == "true"} == {
        ("random", ""),
        ("margin", ""),
        ("filtered_random", ""),
    }


def test_trials_csv_says_what_failed_and_why_and_what_is_missing(holed_files):
    unfinished = {row["status"]: row for row in rows(holed_files["trials.csv"]) if row["status"] != "finished"}
    assert set(unfinished) == {"failed", "missing"}
    assert unfinished["failed"]["reason"] == "The classifier's loss was not a number & more."
    assert (unfinished["missing"]["cell"], unfinished["missing"]["seed"]) == ("margin", "5")
    assert unfinished["missing"]["test_accuracy"] == ""


def test_table_csv_can_be_recomputed_from_trials_csv(files):
    trials = rows(files["trials.csv"])
    for row in rows(files["table.csv"]):
        values = [float(trial["test_accuracy"]) for trial in trials if trial["cell"] == row["cell"]]
        assert int(row["n"]) == len(values) == 10
        assert float(row["test_accuracy_mean"]) == pytest.approx(np.mean(values))
        assert float(row["test_accuracy_se"]) == pytest.approx(np.std(values, ddof=1) / np.sqrt(10))
        assert row["config_ids"] == "0123456789abcdef"


def test_effects_csv_holds_what_was_analysed(study, files):
    read = rows(files["effects.csv"])
    analysis = analyse(study)
    kinds = ["main effect"] * 3 + ["interaction"] * 4 + ["Shapley value"] * 3 + ["control"] * 3
    assert [row["kind"] for row in read] == kinds * 2
    effects = (*analysis.contrasts, *analysis.shapley, *analysis.controls)
    for row, effect in zip(read, effects, strict=False):
        assert row["name"] == effect.name
        assert float(row["estimate"]) == pytest.approx(effect.estimate.mean)
        assert [float(value) for value in row["values"].split()] == pytest.approx(list(effect.values), abs=1e-9)
        tested = effect.kind != "Shapley value"
        assert (row["p"] != "") is (row["p_holm"] != "") is (row["p_tost"] != "") is tested
        if tested:
            assert float(row["p_holm"]) == pytest.approx(effect.p_holm)
    assert {row["metric"] for row in read[13:]} == {"val_accuracy"}


# --- Markdown and LaTeX -------------------------------------------------------------------------------------------


def test_the_markdown_table_shows_switches_controls_and_where_numbers_come_from(study, files):
    lines = files["table.md"].decode().splitlines()
    assert lines[0].startswith("| strategy | bilevel | OT | RankNet | n | test % |")
    cell = study.grid.cells[1]
    values = 100 * np.array(list(study.accuracies(cell).values()))
    expected = f"{values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(10):.2f}"
    assert lines[3].startswith(f"| rambo | ✓ | ✓ | × | 10 | {expected} |")
    assert lines[10].startswith("| random | – | – | – | 10 |")
    assert len({line.count("|") for line in lines[:13]}) == 1
    assert {"Data: digits-0123456789ab.", "Commit: 9d957c3.", "Training version: 1."} < set(lines)


def test_every_commit_and_version_is_listed(make_study, make_outcome):
    commits = {0: "b" * 7, 1: "a" * 7, 2: None}
    study = make_study(lambda cell, seed: make_outcome(0.9, commit=commits[seed]), seeds=range(3))
    assert "Commits: aaaaaaa, bbbbbbb, unknown." in provenance(study)
    assert "% Commits: aaaaaaa, bbbbbbb, unknown." in latex(analyse(study)).decode()
    assert {row["commits"] for row in rows(cells_csv(study))} == {"aaaaaaa bbbbbbb unknown"}


def assert_balanced(text):
    """Every row of the tabular has its columns; braces and dollars are closed."""
    body = [line for line in text.splitlines() if not line.startswith("%")]
    columns = re.search(r"\\begin\{tabular\}\{(l?c*)\}", text).group(1)
    for line in body:
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line
        unescaped = re.sub(r"\\[\\{}$&%#_]", "", line)
        assert unescaped.count("{") == unescaped.count("}"), line
        assert unescaped.count("$") % 2 == 0, line
        assert not re.search(r"(?<!\\)[#~^]", re.sub(r"\$[^$]*\$", "", line)), line
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_the_latex_table_has_checkmarks_rules_and_balanced_rows(files, make_study):
    text = files["table.tex"].decode()
    assert_balanced(text)
    assert r"rambo & \checkmark & \checkmark & $\times$ & 10 &" in text
    assert text.count(r"\midrule") == 2
    assert r"filtered\_random & -- & -- & -- & 10 &" in text
    factors = [parse_factor("utility_model.lambda_ot=0.1,10.0"), parse_factor("acquisition.candidate_batches=2,all")]
    other = latex(analyse(make_study(noisy, factors=factors, seeds=range(2)))).decode()
    assert_balanced(other)
    assert r"strategy & $\lambda_{\mathrm{OT}}$ & M/b &" in other


def test_latex_is_escaped():
    assert tex("λ1 λ_OT") == r"$\lambda_{1}$ $\lambda_{\mathrm{OT}}$"
    assert tex("a_b & 5 % of {$x$} #1 ~^\\") == (
        r"a\_b \& 5 \% of \{\$x\$\} \#1 \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert tex("û ± − ×") == r"$\hat{u}$ $\pm$ $-$ $\times$"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_the_latex_table_compiles(files, tmp_path):
    (tmp_path / "table.tex").write_bytes(files["table.tex"])
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,amssymb}\begin{document}\input{table}\end{document}"
    )
    subprocess.run(["pdflatex", "-interaction=batchmode", "-halt-on-error", "paper"], cwd=tmp_path, check=True)
    assert (tmp_path / "paper.pdf").stat().st_size > 0


def test_a_strategy_as_a_factor_stands_in_the_strategy_column(make_study):
    study = make_study(noisy, factors=[parse_factor("strategy=rambo,random")], controls=["margin"], seeds=range(2))
    table = cell_table(study)
    assert table.header[:2] == ("strategy", "n")
    assert [row[0] for row in (*table.studied, *table.controls)] == ["rambo", "random", "margin"]


# --- sentences ----------------------------------------------------------------------------------------------------


def test_numbers_are_written_as_papers_write_them():
    assert [p_value(p) for p in (0.0001, 0.0042, 0.05, 0.99999, None)] == ["< .001", ".004", ".050", "1", ""]
    assert [points(x) for x in (0.0042, -0.0142, 0.00001, -0.00001)] == ["+0.42", "−1.42", "0.00", "0.00"]


def exactly(differences):
    """Accuracies whose RankNet contrast is `differences`, seed by seed, and nothing else differs."""

    def accuracy(cell, seed):
        return 0.9 + differences[seed] * bool(cell.level("switches.ranknet"))

    return accuracy


def test_a_clear_effect_is_stated(make_study):
    differences = [0.004, 0.005, 0.003, 0.006, 0.004, 0.005, 0.003, 0.004, 0.006, 0.005]
    analysis = analyse(make_study(exactly(differences), controls=[]))
    assert effect_sentence(analysis.contrasts[2], analysis) == (
        "RankNet changes test accuracy by +0.45 points (95 % interval 0.37 to 0.53, exact sign-flip p = .002, .014 "
        "after Holm over 7 contrasts, 10 seeds)."
    )


def test_an_absent_effect_is_bounded_and_an_unclear_one_left_open(make_study):
    small = [0.0004, -0.0005, 0.0003, -0.0002, 0.0001, 0, 0.0002, -0.0001, 0.0003, -0.0004]
    analysis = analyse(make_study(exactly(small), controls=[]))
    sentence = effect_sentence(analysis.contrasts[2], analysis)
    assert "RankNet is estimated to change test accuracy by +0.00" not in sentence
    assert "It changes test accuracy by less than 0.3 points either way (TOST p < .001, < .001 after Holm" in sentence
    large = [10 * value for value in small]
    analysis = analyse(make_study(exactly(large), controls=[], seeds=range(10)), margin=0.001)
    assert "Whether it matters at the scale of 0.1 points remains open" in effect_sentence(
        analysis.contrasts[2], analysis
    )


def test_shapley_values_failures_and_missing_cells_are_told(make_study):
    said = sentences(analyse(make_study(holed), allow_mixed=True))
    [shapley] = [line for line in said if "exact Shapley values" in line]
    assert re.search(r"give bilevel \+0\.\d\d ± 0\.\d\d, OT .*, RankNet \+\d\.\d\d ± .*9 seeds\)", shapley)
    assert "Shapley values are undefined where a cell is missing: seed 3." in said
    assert "2 of 110 trials have no result; effects that need one leave out its seed." in said
    assert "Missing, seed 5: margin." in said
    reason = "The classifier's loss was not a number & more."
    assert f"Failed: bilevel=on OT=on RankNet=on, seed 3: {reason}" in said


def test_one_seed_tests_nothing_and_says_so(make_study):
    said = sentences(analyse(make_study(noisy, seeds=[0])))
    assert any(line.startswith("Nothing can be said of what fewer than two seeds") for line in said)
    assert "nothing can be tested" in said[-1]
    assert not any("p =" in line for line in said)


# --- figures and page ---------------------------------------------------------------------------------------------


def test_figures_are_pictures_with_ink(files):
    for name in NAMES:
        if name.endswith(".png"):
            picture = np.asarray(Image.open(io.BytesIO(files[name])).convert("L"))
            assert picture.shape[1] >= 800, name
            assert 0.005 < (picture < 200).mean() < 0.5, name


def test_cells_that_differ_only_in_the_budget_are_one_curve_from_the_seed_set_on(make_study):
    factors = [parse_factor("acquisition.budget=1000,250,500"), *switches()[:1]]

    def accuracy(cell, seed):
        return 0.8 + cell.level("acquisition.budget") / 10_000 + 0.001 * seed

    curves = curves_over_labels(
        make_study(accuracy, factors=factors, controls=["random"], seeds=range(3)), "test_accuracy"
    )
    assert {curve.name for curve in curves} == {"bilevel=on", "bilevel=off", "random"}
    for curve in curves:
        assert curve.num_labelled == (200, 450, 700, 1200)
        assert [summary.mean for summary in curve.accuracy] == pytest.approx([0.8, 0.826, 0.851, 0.901])
        assert curve.accuracy[1].n == 3


class Page(HTMLParser):
    """Collects what the page refers to, and checks that tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_everything_and_needs_nothing(files):
    page = Page()
    page.feed(files["report.html"].decode())
    assert page.open == []
    pictures = [base64.b64decode(source.removeprefix("data:image/png;base64,")) for source in page.sources]
    assert pictures == [files[f"figures/{name}.png"] for name in ("cells", "effects", "labels")]
    assert not {"script", "link", "iframe"} & set(page.tags)
    text = files["report.html"].decode()
    assert "With 10 seeds the smallest sign-flip p is .00195" in text
    assert "Data: digits-0123456789ab." in text
    assert "<td>bilevel × OT × RankNet</td>" in text


def test_the_page_escapes_what_others_wrote(make_study, holed_files):
    assert "not a number &amp; more" in holed_files["report.html"].decode()
    page = render(make_study(noisy, name="<script>alert(1)</script>", seeds=[0, 1]))["report.html"].decode()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
