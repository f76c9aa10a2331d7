"""Table 2 and Figure 3a: the utility of a hundred random sets by how many validation images judge it.

Needs no trial: a measurement holds a bit for each validation image, so a smaller S_val is a choice of bits, and no set
is trained twice. The sets are the first of the utility samples that RAMBO measures anyway; what the store lacks of them
goes through the collection that trials use.
"""

import argparse
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from ablations.comparison.views import digits
from ablations.factors import make_grid
from ablations.paper.asked import asked_data
from ablations.paper.beside import MARK, difference_text, printed_text
from ablations.paper.printed import VALIDATION_SIZES, printed_sizes
from ablations.paper.recipes import DATA, PAPER_SEEDS
from ablations.scale import named, scaled
from ablations.sentences import mean_error, seeds_name
from ablations.statistics import summarise
from ablations.tables import markdown_table, one_a_line
from cluster.collect import collect
from cluster.place import read_place
from cluster.work import missing_work
from rambo.arrays import Floats
from rambo.cli import read_configs
from rambo.console import Table
from rambo.errors import require
from rambo.formats import csv_bytes
from rambo.home import Home
from rambo.measurement import Measurement
from rambo.preparation import Prepared, prepare
from rambo.progress import Progress
from rambo.randomness import numpy_generator
from rambo.store import Store
from rambo.training.trainer import SetSpec

NUM_SETS = 100
"""B.2."""

FOLDER = "paper"
"""Of a home, for what needs no trial."""

OF_TRIALS = ("factor", "controls", "retune", "time_budget", "max_trainings", "margin")
"""Flags of studies that mean nothing where no trial is run."""

HEADER = ("data", "|S_val|", "paper %", "here, validation %", "here − paper", "seeds")


@dataclass(frozen=True)
class Row:
    """One |S_val| on one data set."""

    data: str
    size: int
    utility: tuple[float, ...]
    """Mean over the sets, one for each seed, in [0, 1]."""

    def texts(self, *, full: bool) -> tuple[str, ...]:
        """As a table has it, with the paper's beside it at full scale."""
        paper, ours = printed_sizes(self.data)[self.size] if full else None, summarise(self.utility)
        printed, differs = ("", "") if paper is None else (printed_text(paper), difference_text(ours, paper))
        return (DATA[self.data], str(self.size), printed, mean_error(ours), differs, str(ours.n))

    def numbers(self) -> tuple[object, ...]:
        """As a CSV file has it."""
        ours = summarise(self.utility)
        return (self.data, self.size, ours.n, digits(ours.mean), digits(ours.se))


def utility_by_size(measured: Sequence[Measurement], num_validation: int, sizes: Sequence[int], seed: int) -> Floats:
    """(sizes,) mean accuracy of the sets on nested random subsets of S_val, drawn from the seed.

    Raises `InvalidInput` for a size above `num_validation`.
    """
    require(max(sizes) <= num_validation, f"|S_val| must be at most {num_validation} here, got {max(sizes)}.")
    packed = np.array([np.frombuffer(one.val_correct, dtype=np.uint8) for one in measured])
    correct = np.unpackbits(packed, axis=1, count=num_validation)
    order = numpy_generator(seed, "validation sizes").permutation(num_validation)
    found: Floats = np.array([correct[:, order[:size]].mean(dtype=np.float64) for size in sizes])
    return found


def sets_of(prepared: Prepared) -> list[SetSpec]:
    """The random sets of a seed, at most a hundred."""
    return prepared.specs()["offline pairs"][:NUM_SETS]


def run_sizes(options: argparse.Namespace, progress: Progress) -> list[Table | str]:
    """Measure what is missing of `--recipe table2` or `fig3a`, and the table; with --plan, only what is missing."""
    _check_flags(options)
    home, everything = Home(options.home), dict[str, list[Prepared]]()
    with progress.doing("reading data and drawing splits"):
        for data, source in asked_data(options).items():
            everything[data] = _prepared(options, data, source, progress)
    _check_sets([one for found in everything.values() for one in found])
    sizes = {data: _sizes(found[0].config.data.num_validation) for data, found in everything.items()}
    flat = [one for found in everything.values() for one in found]
    work = missing_work([(one.problem(one.pool), sets_of(one)) for one in flat], [], Store(home))
    if options.plan:
        sets = sum(len(sets_of(one)) for one in flat)
        return [f"{sets} sets of {len(flat)} seeds; {work.num_trainings} trainings are missing, and no trial is run."]
    place = read_place(options, home, "store/ledger.jsonl")
    collect(work, home, num_workers=place.num_workers, device=options.device, progress=progress)
    rows = [row for data, found in everything.items() for row in _rows(data, found, sizes[data], Store(home))]
    full, name = options.scale == "full", named(options.study or options.recipe, options.scale)
    table = Table(HEADER, [row.texts(full=full) for row in rows], wide=("data",))
    note = _note(everything, full=full)
    for file, content in _files(table, rows, note).items():
        home.write(f"{FOLDER}/{name}/{file}", content)
    return [table, note, home.path(f"{FOLDER}/{name}")]


def _check_flags(options: argparse.Namespace) -> None:
    """Raise `InvalidInput` for flags that would change nothing here, where there are no trials."""
    given = [f"--{name.replace('_', '-')}" for name in OF_TRIALS if getattr(options, name) not in (None, [])]
    require(not given, f"--recipe {options.recipe} must stand without {', '.join(given)}: it has no trials.")


def _check_sets(prepared: Sequence[Prepared]) -> None:
    """Raise `InvalidInput` where there are no such sets: without û, or without the pairs that it begins with."""
    for one in prepared:
        require(
            one.plan is not None and one.config.offline.num_pairs > 0,
            "This table's sets are the offline pairs of a strategy that learns û, got "
            f"--strategy {one.config.strategy} and --offline.num_pairs {one.config.offline.num_pairs}; leave both out.",
        )


def _note(everything: Mapping[str, Sequence[Prepared]], *, full: bool) -> str:
    """What the numbers are, and of which data and seeds."""
    numbers = sorted({len(sets_of(one)) for found in everything.values() for one in found})
    marked = f" {MARK}: the difference is larger than both standard errors together." if full else ""
    said = (
        f"Accuracy on S_val of f trained on each of {' or '.join(map(str, numbers))} random subsets of S_0, averaged; "
        "mean ± standard error over seeds. Smaller validation sets are nested random subsets of one S_val, read from "
        f"kept correctness bits.{marked}"
    )
    return " ".join([said, *(f"{DATA[data]}: {_made(found)}." for data, found in everything.items())])


def _made(prepared: Sequence[Prepared]) -> str:
    one, seeds = prepared[0], [each.config.seed for each in prepared]
    k = one.config.data.num_seed_labels
    return f"{one.dataset.slug}, k = {k}, {one.config.classifier.name}, {seeds_name(seeds)}"


def _prepared(options: argparse.Namespace, data: str, source: str, progress: Progress) -> list[Prepared]:
    """One a seed."""
    own = copy(options)
    own.preset, own.seed = own.preset or f"paper_{data}", PAPER_SEEDS if options.seed is None else options.seed
    setattr(own, "data.source", source)
    configs = read_configs(own)
    seeds = [config.seed for config in configs]
    found = scaled(make_grid(configs[0], [], controls=(), seeds=seeds, design="factorial"), options.scale)
    if options.scale != "full":
        progress.say(f"{DATA[data]}: {found.sentence()}")
    return [prepare(config, options.data_dir) for _, _, config in found.grid.trials()]


def _sizes(num_validation: int) -> list[int]:
    sizes = [size for size in VALIDATION_SIZES if size <= num_validation]
    require(bool(sizes), f"data.num_validation must be at least {VALIDATION_SIZES[0]} here, got {num_validation}.")
    return sizes


def _rows(data: str, prepared: Sequence[Prepared], sizes: Sequence[int], store: Store) -> list[Row]:
    found = np.array([_utility(one, sizes, store) for one in prepared])
    return [Row(data, size, tuple(column)) for size, column in zip(sizes, found.T.tolist(), strict=True)]


def _utility(prepared: Prepared, sizes: Sequence[int], store: Store) -> Floats:
    problem = prepared.problem(prepared.pool)
    keys = [problem.key(spec) for spec in sets_of(prepared)]
    kept = store.measurements(keys)
    measured = [kept[key] for key in keys if key in kept]
    require(len(measured) == len(keys), f"All {len(keys)} sets must be measured, got {len(measured)}; run it again.")
    return utility_by_size(measured, prepared.config.data.num_validation, sizes, prepared.config.seed)


def _files(table: Table, rows: Sequence[Row], note: str) -> Mapping[str, bytes]:
    numbers = (("data", "num_validation", "n", "mean", "se"), *(row.numbers() for row in rows))
    lines = markdown_table(tuple(table.header), [tuple(row) for row in table.rows])
    return {"table.md": one_a_line([*lines, "", note]), "table.csv": csv_bytes(numbers)}
