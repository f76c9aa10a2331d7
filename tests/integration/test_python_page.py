"""The programs of docs/python.md, one after the other, each as somebody would paste it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/python.md").read_text()
PROGRAMS = dict(re.findall(r"\n## ([^\n]+)\n.*?```python\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture
def told(tmp_path, monkeypatch, capsys):
    """What a program prints that is run in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def lines(name):
        exec(compile(PROGRAMS[name], name, "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.long
def test_each_program_runs_and_prints_what_it_is_about(told, tmp_path):
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    assert len(PROGRAMS) == 5
    [experiment] = told("One experiment")
    before, after = map(float, re.match(r"(0\.\d+) -> (0\.\d+), in trials/digits-", experiment).groups())
    assert 0.5 < before < after
    picked = re.findall(r"\d+", told("A strategy on arrays of your own")[0].split("]")[0])
    assert len(set(picked)) == 10
    assert min(map(int, picked)) >= 80, "only what has no label"
    *sets, first = told("The utility of sets, through the store")
    assert [line.split(",")[0][:6] for line in sets] == 5 * ["40 u ="]
    assert first == "5 trainings were run now"
    assert told("The utility of sets, through the store")[-1] == "0 trainings were run now"
    table = "\n".join(told("A study's table as a data frame"))
    assert re.search(r"strategy=scout_margin +0\.9509", table)
    [scores] = told("The learned û")
    assert len(set(re.findall(r"-?\d\.\d+", scores))) == 3
