"""The table over cells, in Markdown and in LaTeX."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from gaining_studies import noisy

from ablations.factors import parse_factor
from ablations.statistics import analyse
from ablations.tables import SAW, TOGETHER, caption, cell_table, latex, tex


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


def test_tables_say_who_saw_labels_of_s_val(make_study):
    factors = [parse_factor("strategy=rambo,margin,oracle"), parse_factor("acquisition.scout=seed,seed_and_validation")]
    table = cell_table(make_study(noisy, factors=factors, controls=["random", "scout_margin"], seeds=range(2)))
    seen = {(row[0], row[1]): row[-1] for row in (*table.studied, *table.controls)}
    assert table.header[-1] == "saw S_val"
    assert seen == {
        ("rambo", "seed"): "✓",
        ("rambo", "seed_and_validation"): "✓",
        ("margin", "seed"): "–",
        ("margin", "seed_and_validation"): "✓",
        ("oracle (study only)", "seed"): "✓",
        ("oracle (study only)", "seed_and_validation"): "✓",
        ("random", "–"): "–",
        ("scout_margin", "–"): "✓",
    }


def test_what_is_there_before_anything_is_bought_has_a_row_of_its_own(make_study, make_outcome):
    """Seeds 0 and 1 with .85 and .87 on S_0 and S_val: 86 ± 1."""

    def told(cell, seed):
        return make_outcome(0.9, test_accuracy_all=0.94, base_test_accuracy_all=0.85 + 0.02 * seed, pair_accuracy=None)

    factors = [parse_factor("strategy=margin,filtered_random")]
    study = make_study(told, factors=factors, controls=[], seeds=range(2))
    table = cell_table(study)
    assert {SAW, TOGETHER} == {note for note in (SAW, TOGETHER) if note in caption(study)}
    assert TOGETHER not in caption(make_study(noisy, factors=factors, controls=[], seeds=range(2)))
    row = dict(zip(table.header, table.controls[-1], strict=True))
    assert row["strategy"] == "nothing bought"
    assert row["test %, S_val too"] == "86.00 ± 1.00"
    assert row["test %"] == "80.00 ± 0.00"
    assert dict(zip(table.header, table.studied[0], strict=True))["test %, S_val too"] == "94.00 ± 0.00"
    without = cell_table(make_study(noisy, factors=factors, controls=[], seeds=range(2)))
    assert without.controls == ()
    assert "test %, S_val too" not in without.header
    assert "Eq. 4 %" in without.header
    noise = [*factors, parse_factor("data.label_noise=0.0,0.2")]
    assert cell_table(make_study(told, factors=noise, controls=[], seeds=range(2))).controls == ()
