"""A study as a folder for a paper's supplement: LaTeX tables, PDF figures, CSV files, and a README of how to check it.

Everything in it is worked out from the trial folders, so `verify --exported` can work it out again. No path of this
machine is in it, and the same trials leave the same bytes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from ablations.factors import value_text
from ablations.made import command, made_lines
from ablations.plans import StudyPlan, read_study
from ablations.report import render
from ablations.run import Reporting
from ablations.sentences import provenance
from ablations.statistics import Analysis, analyse
from ablations.study import Study
from ablations.tables import caption, effect_table, one_a_line, tabular
from rambo.errors import require
from rambo.formats import path_of, text_bytes
from rambo.home import Home

TITLE = "# Supplement of the study "
"""How the README begins; by it a folder is known as an export."""

FOLDERS = {".tex": "tables", ".csv": "data", ".pdf": "figures"}
"""Where files of a kind stand; what has another ending is not exported but for the sentences."""

LISTED = re.compile(r"^- `([^`]+)`", re.MULTILINE)
"""A file in the list of a README."""

FILES = {
    "README.md": "this page",
    "sentences.txt": "what the study shows, in sentences that a paper could print",
    "tables/table.tex": "every cell; all tables need booktabs and amssymb, each ends in its caption as a comment",
    "tables/effects.tex": "every effect on test accuracy, with its tests",
    "tables/curves.tex": "test accuracy over the budget",
    "tables/aubc.tex": "area under the budget curve",
    "tables/rivals.tex": "one strategy against each of the others",
    "tables/ranks.tex": "mean ranks",
    "tables/penalties.tex": "who beats whom, pair by pair",
    "tables/profiles.tex": "performance profile",
    "tables/paper.tex": "accuracy on S_val beside the paper's own numbers",
    "tables/minutes.tex": "minutes of each stage beside the paper's",
    "data/trials.csv": "every trial: levels, seed, accuracies, what it came from; missing and failed ones too",
    "data/table.csv": "every cell: means, standard errors, levels",
    "data/effects.csv": "every effect on test and validation accuracy, with its differences by seed",
    "data/costs.csv": "what a trial of each cell takes, in seconds of one process",
    "data/luck.csv": "cells and effects for other searches as well",
}
"""What is in a file, where its name does not say it."""


def read_folder(text: str, flag: str) -> Home:
    """The folder that a flag names; raises `InvalidInput` where it names none."""
    path_of(text, flag)
    return Home(text, flag=flag)


def exported(plan: StudyPlan, home: Home, reporting: Reporting) -> dict[str, bytes]:
    """Every file of the export, by its path in the folder; raises `InvalidInput` as `render` does."""
    study = read_study(plan, home)
    analysis = analyse(study, **asdict(reporting))
    found = {"sentences.txt": b"", "tables/effects.tex": _effects_tex(analysis)}
    for name, content in render(study, **asdict(reporting)).items():
        _, dot, ending = name.rpartition(".")
        base = name.rpartition("/")[2]
        if dot + ending in FOLDERS:
            found[f"{FOLDERS[dot + ending]}/{base}"] = content
        elif name == "sentences.txt":
            found[name] = content
    readme = _readme(analysis, _versions(plan, home), sorted(["README.md", *found]))
    return {"README.md": readme, **found}


def write_export(files: Mapping[str, bytes], study: str, to: Home) -> None:
    """Write what differs from there, and remove what an earlier export lists and this one has not.

    A folder that holds something else than an export of the study is refused.
    """
    before = to.read("README.md")
    empty = not to.list("") and not to.folders("")
    ours = before is not None and before.startswith(f"{TITLE}{study}\n".encode())
    require(
        empty or ours,
        f"--to must name a new or empty folder, or one with an earlier export of {study}, got {to.root} with something "
        "else in it; choose another.",
    )
    for name, content in files.items():
        if to.read(name) != content:
            to.write(name, content)
    for name in LISTED.findall((before or b"").decode()):
        if name not in files:
            to.remove(name)


def export_differences(files: Mapping[str, bytes], there: Home) -> list[str]:
    """One sentence for each file that is missing, other than it should be, or no part of the export.

    Raises `InvalidInput` where `there` is no export at all.
    """
    require(
        there.read("README.md") is not None,
        f"--exported must name a folder that export has made, got {there.root} without a README.md.",
    )
    found = []
    for name, content in files.items():
        kept = there.read(name)
        if kept is None:
            found.append(f"{there.path(name)} is missing.")
        elif kept != content:
            found.append(f"{there.path(name)} is not what the trial folders give.")
    return [*found, *(f"{there.path(name)} is no file of the export." for name in _all(there) if name not in files)]


def _all(there: Home, folder: str = "") -> Iterator[str]:
    """Every file in the folder and in those below it, but for hidden ones."""
    yield from (f"{folder}{name}" for name in there.list(folder.rstrip("/")))
    for name in there.folders(folder.rstrip("/")):
        yield from _all(there, f"{folder}{name}/")


def _effects_tex(analysis: Analysis) -> bytes:
    told = (caption(analysis.study), *analysis.marks, *provenance(analysis.study))
    return one_a_line([*tabular(effect_table(analysis)), *(f"% {line}" for line in told)])


def _readme(analysis: Analysis, versions: Mapping[str, Sequence[str]], names: Sequence[str]) -> bytes:
    study = analysis.study
    lines = [
        f"{TITLE}{study.name}",
        "",
        *analysis.marks,
        *([""] if analysis.marks else []),
        "## Files",
        *(f"- `{name}`{_about(name)}" for name in names),
        "",
        "## How it was made",
        *(f"- {line}" for line in made_lines(study) if not line.startswith("Command: ")),
        *(f"- {line}" for line in provenance(study)),
        *(f"- {name}: {', '.join(there)}" for name, there in versions.items()),
        "",
        "## Commands",
        "The first makes the study in `HOME`, or finishes it; the second makes this folder; the rest check it: tables",
        "and figures from the trials, each accuracy from which images each training got right, then five trainings.",
        "",
        *(f"    {one}" for one in _commands(study, command(study, analysis.margin, analysis.reason))),
    ]
    return text_bytes("\n".join(lines) + "\n")


def _source(study: Study) -> str:
    """Without its folders, as the first command has it; a name where there are several."""
    several = any(factor.name == "data.source" for factor in study.grid.factors)
    return "" if several else value_text("data.source", study.grid.base.data.source)


def _about(name: str) -> str:
    """What is in a file; of numbers that are a table's, whose; nothing of pictures."""
    table = name.replace("data/", "tables/").replace(".csv", ".tex")
    if name not in FILES and table not in FILES:
        return ""
    return f": {FILES[name]}" if name in FILES else f": the numbers of `{table}`, in full"


def _commands(study: Study, run: str) -> Iterator[str]:
    beside, source = f"--study {study.name} --home HOME", _source(study)
    data = f" --data.source {source}" if ":" in source else ""
    yield f"{run} --home HOME"
    yield f"python -m ablations export {beside} --to FOLDER"
    yield f"python -m ablations verify {beside} --exported FOLDER"
    yield f"python -m ablations verify {beside} --deep{data}"
    yield f"python -m ablations verify {beside} --retrain 5{data}"


def _versions(plan: StudyPlan, home: Home) -> dict[str, list[str]]:
    """Of Python and of the packages behind the trials, all different ones."""
    found: dict[str, set[str]] = {}
    for folder in set(plan.folders.values()):
        told = json.loads(home.read(f"{folder}/environment.json") or b"{}")
        for name, one in {"python": told.get("python"), **told.get("packages", {})}.items():
            found.setdefault(name, set()).add(str(one))
    return {name: sorted(there) for name, there in sorted(found.items())}
