"""The flags of `verify` that go below the trial folders, and what they do."""

import argparse
from pathlib import Path

from ablations.deep.accuracies import recompute
from ablations.deep.retraining import retrain
from ablations.deep.trainings import read_trials
from ablations.plans import StudyPlan
from rambo.cli import choose_device
from rambo.home import Home
from rambo.progress import Progress
from rambo.store import Store

DEEP = """\
--deep works out every accuracy of every trial from which images each training in the store got right, for which it
needs the data. What the store does not hold is counted. --retrain N also trains N of the study's sets anew, drawn at
random: on a CPU that rounds as the record's each must answer every image alike, elsewhere each accuracy must lie
within four standard errors of a difference, √(2p(1 − p)/n) each. Nothing is written; a file of the store that is
damaged is set aside, as by any command.

  python -m ablations verify --study quickstart --deep
  python -m ablations verify --study quickstart --retrain 5
  python -m ablations verify --study strategies --home RECORDS --deep --data.source npz:mnist_10k.npz
"""


def add_depth(parser: argparse.ArgumentParser) -> None:
    """--deep, --retrain and where the data are."""
    group = parser.add_argument_group("below the trial folders", DEEP)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    group.add_argument("--deep", action="store_true", help="recompute every accuracy from the store")
    group.add_argument("--retrain", type=int, metavar="N", help="also train N sets anew; --deep goes without saying")
    group.add_argument("--retrain-seed", type=int, default=0, metavar="SEED", help="draws them (default %(default)s)")
    group.add_argument("--data.source", dest="source", metavar="SOURCE", help="where the data are now, if moved")
    group.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="downloaded data sets (data/)"
    )
    group.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: a GPU where there is one"
    )


def verify_deeply(plan: StudyPlan, home: Home, options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """A sentence on each difference, and what was compared; two empty lists where nobody has asked."""
    if not options.deep and options.retrain is None:
        return [], []
    progress, store = Progress(quiet=options.quiet), Store(home, compact=False)
    with progress.doing("working accuracies out from the store"):
        found, trials = recompute(read_trials(plan, home, options.data_dir, options.source), store)
    if options.retrain is None:
        return found.differences, [found.text]
    device, number = choose_device(options.device), options.retrain
    anew = retrain(trials, store, number, device, seed=options.retrain_seed, progress=progress)
    return [*found.differences, *anew.differences], [found.text, anew.text]
