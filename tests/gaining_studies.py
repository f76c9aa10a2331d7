"""Accuracies with a known gain and some noise, and the files of such studies."""

import csv
import io

from rambo.randomness import numpy_generator

NAMES = {
    "table.md",
    "table.tex",
    "table.csv",
    "effects.csv",
    "trials.csv",
    "sentences.txt",
    *(f"figures/{name}.{kind}" for name in ("cells", "effects", "labels") for kind in ("png", "pdf")),
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
