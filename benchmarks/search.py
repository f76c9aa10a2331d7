"""What a search costs beside its work, and whether TPE finds more than chance.

python -m benchmarks search
python -m benchmarks search --overhead --num-trials 40
python -m benchmarks search --samplers --repeats 10

Overhead: a search of the embedded digits; of each trial the time, from its suggestion to its end, in which its process
did not work on it, the start of that process included. Samplers: the best value so far of a made-up accuracy over the
default space of paper_mnist, by the same ask and tell, without training.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.records import keep, table
from cluster.databases import file_url
from rambo.cli import Parser
from rambo.fields import Value
from rambo.presets import paper_mnist
from rambo.randomness import numpy_generator
from tune.records import SearchPlan as Plan
from tune.records import SeedOutcome as Outcome
from tune.search import open_search
from tune.space import BATCH, LAMBDA_OT, LAMBDAS, default_space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SAMPLERS = ("random", "tpe", "gp")


def main(arguments: Sequence[str]) -> None:
    """Measure both; print tables and keep them."""
    parser = Parser(
        prog="python -m benchmarks search", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--overhead", action="store_true", help="this alone")
    parser.add_argument("--samplers", action="store_true", help="this alone")
    parser.add_argument("--num-trials", type=int, default=40, help="of each search (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=10, help="of each sampler (default %(default)s)")
    options = parser.parse_args(arguments)
    found: dict[str, object] = {}
    if options.overhead or not options.samplers:
        found["overhead"] = overhead(options.num_trials)
    if options.samplers or not options.overhead:
        found["samplers"] = samplers(options.num_trials, options.repeats)
    keep("search", found)


def overhead(num_trials: int) -> Mapping[str, float]:
    """A search from an empty home by the command: all of it, and of each trial what was not work."""
    with tempfile.TemporaryDirectory() as home:
        flags = ["--preset", "quickstart", "--seeds", "0-2", "--home", home]
        start = time.perf_counter()
        _command(*flags, "--num-trials", str(num_trials))
        whole = time.perf_counter() - start
        folder = Path(home, "searches/quickstart")
        beside = sorted(_beside_work(folder))
        span = _span(folder)
    mean, median = statistics.fmean(beside), statistics.median(beside)
    rows = [(num_trials, whole, span, mean, median, beside[-1])]
    header = ("trials", "wall, s", "first start to last end, s", "overhead a trial, s: mean", "median", "largest")
    table("A search of digits, 2 trials at a time", header, rows)
    return dict(zip(header, rows[0], strict=True))


def _command(*flags: str) -> None:
    command = [sys.executable, "-m", "tune", "run", "--quiet", *flags]
    subprocess.run(command, check=True, capture_output=True, text=True)


def _ended(folder: Path) -> list["FrozenTrial"]:
    import optuna

    study = optuna.load_study(study_name=folder.name, storage=file_url(folder.resolve() / "optuna.db"))
    return [trial for trial in study.get_trials() if trial.datetime_start and trial.datetime_complete]


def _beside_work(folder: Path) -> list[float]:
    """Seconds of each trial, from its suggestion to its end, in which its process did not work on it."""
    return [
        (trial.datetime_complete - trial.datetime_start).total_seconds()  # type: ignore[operator]
        - sum(outcome["seconds"] for outcome in trial.user_attrs["outcomes"])
        for trial in _ended(folder)
    ]


def _span(folder: Path) -> float:
    """Seconds from the first trial's start to the last one's end."""
    ended = _ended(folder)
    last = max(trial.datetime_complete for trial in ended)  # type: ignore[type-var]
    return (last - min(trial.datetime_start for trial in ended)).total_seconds()  # type: ignore[operator, type-var]


def samplers(num_trials: int, repeats: int) -> Mapping[str, object]:
    """Best made-up accuracy so far, mean over repeats, and in how many repeats each sampler beats random in the end."""
    base = paper_mnist()
    space = default_space(base, 10, 8000, ("accuracy",))
    best: dict[str, np.ndarray] = {}
    for sampler in SAMPLERS:
        runs = []
        for repeat in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                plan = Plan("made-up", space, base, (0,), ("accuracy",), "")
                search = open_search(plan, file_url(Path(folder).resolve() / "optuna.db"), sampler, repeat)
                rng = numpy_generator(repeat, "noise")
                values = []
                for _ in range(num_trials):
                    asked = search.ask()
                    true = accuracy(asked.fields)
                    noisy = true + 0.002 * rng.standard_normal()
                    search.report(asked.number, [Outcome(noisy, true)])
                    search.complete(asked.number, [noisy])
                    values.append((noisy, true))
            chosen = [max(values[: count + 1])[1] for count in range(num_trials)]
            runs.append(chosen)
        best[sampler] = np.array(runs)
    marks = [count for count in (5, 10, 20, 40, 80, 160) if count <= num_trials]
    rows = [
        (
            sampler,
            *(f"{100 * best[sampler][:, count - 1].mean():.2f}" for count in marks),
            int((best[sampler][:, -1] > best["random"][:, -1]).sum()),
        )
        for sampler in SAMPLERS
    ]
    table(
        f"True value of the best so far, %, mean of {repeats} repeats (optimum {100 * OPTIMUM:.2f})",
        ("sampler", *(f"{count} trials" for count in marks), "beats random"),
        rows,
    )
    return {sampler: json.loads(json.dumps(values.tolist())) for sampler, values in best.items()}


OPTIMUM = 0.95


def accuracy(fields: Mapping[str, Value]) -> float:
    """A made-up accuracy with its best at λ_OT(λ1+λ2)/2 = .1, λ_OT·λ3 = .1 and b = 50; without OT a point less."""
    value = OPTIMUM - 0.004 * abs(math.log2(float(fields[BATCH]) / 50))
    if fields[LAMBDA_OT] == 0:
        return value - 0.01
    scale, (first, second, third) = float(fields[LAMBDA_OT]), (float(fields[name]) for name in LAMBDAS)
    offset = math.log10(scale * (first + second) / 2 / 0.1)
    penalty = math.log10(scale * third / 0.1)
    return value - 0.02 * math.tanh(offset**2 / 4) - 0.005 * math.tanh(penalty**2 / 4)
