"""python -m rambo select, train, predict: a pool of one's own, from its first labels to a classifier."""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rambo import console as terminal
from rambo.cli import LISTED, Parser, add_config_flags, add_lab_flags, choose_device, parse, shown
from rambo.config import Config
from rambo.data.dataset import Dataset
from rambo.errors import require
from rambo.experiment import Lab
from rambo.fields import Value, fields, override, read_config
from rambo.formats import csv_bytes, path_of, whole
from rambo.home import Home
from rambo.labelling import classifier as classifiers
from rambo.labelling import kept as selections
from rambo.labelling.expectation import expect, planned
from rambo.labelling.own_pool import (
    LARGEST_SIDE,
    STRATEGY,
    Sources,
    check_apart,
    check_classes,
    configuration,
    name_of,
    num_validation,
    read_pool,
    validation_of,
    with_validation,
)
from rambo.labelling.selecting import ANSWER, ASKED, SHEET, ask, refuse_filled_in, share_of
from rambo.preparation import Prepared, prepare_with
from rambo.presets import own_pool, preset
from rambo.progress import Progress
from rambo.store import Store
from rambo.training.measuring import Measurer, missing_specs

SETTLED = {
    "data.source", "data.labels", "data.num_seed_labels", "data.num_validation", "data.num_test", "data.stratified",
    "data.label_noise", "data.label_noise_classes", "data.imbalance_classes", "data.imbalance_fraction",
    "acquisition.budget", "acquisition.rounds", "evaluation.repeats", "evaluation.first_repeat",
    "evaluation.with_validation",
}  # fmt: skip
"""Fields that the pool, its labels and other flags decide, or that only studies read."""

ONE_AT_A_TIME = "--name must be that of a selection on which no other command works, got {name}; wait for it to end."

SELECT = f"""\
Which images to label next. You have a pool, some labels, and a budget for B more.

  python -m rambo select --pool images/ --labels labels.csv --budget 100
  python -m rambo select --pool images/ --labels labels.csv to_label.csv --budget 100    # a round more
  python -m rambo select --pool images/ --labels labels.csv --budget 100 --compare random,margin,scout_margin
  python -m rambo select --pool npz:pool.npz --budget 100 --plan

A labels file is a CSV with the columns file and label; names are relative to the pool, and images that it does not name
have no label. No other label is read: none is there. Of npz:, y is -1 where there is no label.

What it leaves is in selections/NAME/ROUND of the home, the last line of its output: to_label.csv with an empty column
for labels, the same as a contact sheet, and what the classifier gets right now of the validation images, which are part
of the labels and stay the same ones in later rounds. Fill in labels and give the file beside the first one.

The strategy is {STRATEGY} unless told otherwise: on real MNIST, 500 images more, it led to 96.5 % on test images where
random choice led to 94.6 % and RAMBO's û to 95.5 % (docs/results.md; all labels used, mean of 10 seeds).
"""

TRAIN = """\
The classifier that your labels make, with what it is worth.

  python -m rambo train --pool images/ --labels labels.csv to_label.csv

--name is that of the selection, whose validation images it keeps to; give the fields that select was given as well.
It learns from every label. Its accuracy is that of the same network without the validation images, on these. What it
leaves is in classifiers/NAME of the home: weights (safetensors), a graph that torch.export.load runs without this
project, and classifier.json, which says what it takes and gives.
"""

PREDICT = """\
Classes for a folder of images, as CSV.

  python -m rambo predict --classifier runs/classifiers/images --pool images/ --to predictions.csv
"""


def read(arguments: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for, which begins with one of `COMMANDS`."""
    name, *flags = arguments
    options = parse(_PARSERS[name](), flags)
    settled = [f"--{field}" for field in sorted(SETTLED) if vars(options).get(field) is not None]
    require(
        not settled,
        f"{', '.join(settled)} must be left to the pool, its labels, --budget and --validation; leave it out.",
    )
    options.command = name
    return options


def main(options: argparse.Namespace) -> None:
    """Run it."""
    COMMANDS[options.command](options)


def run_select(options: argparse.Namespace) -> None:
    """rambo select."""
    progress, home = Progress(quiet=options.quiet), Home(options.home)
    dataset = _pool(options, progress)
    left = len(dataset.labels) - len(dataset.labelled)
    require(left > 0, f"--pool must have images without a label, got {len(dataset.labels)} that all have one; train.")
    require(
        1 <= options.budget <= left,
        f"--budget must lie in 1..{left}, the images without a label, got {options.budget}; change it.",
    )
    name = _name(options, dataset)
    begun = _begun(options, dataset, home, name, {"acquisition.budget": options.budget})
    strategies = [word.strip() for word in (options.compare or "").split(",") if word.strip()]
    compared = planned(dataset, begun.config, strategies) if options.compare is not None else []
    if options.plan:
        _show_plan(begun.prepared, [one for fold in compared for one in fold], home)
        return
    home.check_writable()
    lab = Lab(home, options.data_dir, choose_device(options.device), progress)
    if compared:
        found = expect(compared, lab)
        terminal.show(found.table(), found.sentence())
        print("Nothing is asked for yet: the same command with --strategy in place of --compare does.")
        return
    with home.lock(f"{selections.folder_of(name)}/lock", ONE_AT_A_TIME.format(name=name)):
        _ask(options, dataset, name, lab)


def _ask(options: argparse.Namespace, dataset: Dataset, name: str, lab: Lab) -> None:
    """The round that the labels are for: made where it is not whole, and told."""
    home = lab.home
    begun = _begun(options, dataset, home, name, {"acquisition.budget": options.budget})
    _say_others(begun.kept, home)
    digest, settings = selections.labels_digest(dataset), f"{begun.prepared.config_id}/{begun.config.seed}"
    number = begun.kept.answered(digest, settings)
    kept, place = begun.kept, number or len(begun.kept.rounds) + 1
    folder = selections.folder_of(name, place)

    def remember(asked: tuple[str, ...]) -> None:
        nonlocal kept
        if number is None:
            latest = selections.Round(digest, len(dataset.labelled), settings, asked)
            kept = replace(kept, rounds=(*kept.rounds, latest))
            selections.write_kept(home, kept)

    whole_round = {ASKED, ANSWER, *([SHEET] if dataset.has_pictures else [])}
    if number is None or not whole_round <= set(home.list(folder)):
        if number is None:
            refuse_filled_in(home, folder)
        ask(begun.prepared, lab, folder, _labels_csv(dataset), remember)
    _tell(kept, place, begun.prepared, home)


def run_train(options: argparse.Namespace) -> None:
    """rambo train."""
    progress, home = Progress(quiet=options.quiet), Home(options.home)
    dataset = _pool(options, progress)
    name = _name(options, dataset)
    begun = _begun(options, dataset, home, name, {"strategy": "random", "acquisition.budget": 1})
    prepared = begun.prepared
    home.check_writable()
    _say_others(begun.kept, home)
    store, folder = Store(home), f"classifiers/{name}"
    fitted, share = classifiers.train(prepared, Measurer(store, choose_device(options.device), progress))
    classifiers.keep(fitted, share, prepared, home, folder)
    terminal.show(
        f"{prepared.config.classifier.name} on {len(dataset.labelled)} labels of {dataset.num_classes} classes."
    )
    terminal.show(f"Trained on the others alone, it gets {share.text()}; the one kept has learned from these too.")
    print(home.path(folder))


def run_predict(options: argparse.Namespace) -> None:
    """rambo predict."""
    kept = classifiers.read_classifier(path_of(options.classifier, "--classifier"))
    with Progress(quiet=options.quiet).doing("predicting"):
        rows = list(classifiers.predict_pool(kept, options.pool))
    target = path_of(options.to, "--to").absolute()
    classifiers.check_target(target)
    Home(target.parent).write(target.name, classifiers.predictions_csv(rows, kept.class_names))
    print(f"{sum(len(files) for files, _ in rows)} images: {target}")


def _name(options: argparse.Namespace, dataset: Dataset) -> str:
    """What the selection is called: one part of a path."""
    name = options.name or dataset.name
    fits = re.fullmatch(r"[\w][\w .-]*", name) is not None
    require(
        fits, f"--name must be letters, digits, '-', '_', '.' or blanks, beginning with one of the first, got {name!r}."
    )
    return name


def _say_others(kept: selections.Kept, home: Home) -> None:
    """Where validation images are drawn anew though others were drawn before from the same images."""
    others = [] if kept.rounds else selections.of_same_pool(home, kept)
    if others:
        terminal.show(
            f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} validation images of this pool already; "
            f"{kept.name} draws its own, from all labels, those that were asked for among them. --name {others[0]} "
            "keeps to the first."
        )


@dataclass(frozen=True, eq=False)
class _Begun:
    prepared: Prepared
    config: Config
    """As it was asked for: `prepared` has what its strategy fixes."""
    kept: selections.Kept


def _begun(options: argparse.Namespace, dataset: Dataset, home: Home, name: str, more: dict[str, Value]) -> _Begun:
    """What is to be run, and the selection called `name`, there or not; writes nothing."""
    kept = selections.read_kept(home, name)
    if kept is None:
        check_classes(dataset)
    else:
        selections.check_same_pool(kept, dataset)
        dataset = with_validation(dataset, validation_of(dataset, kept.validation))
    validation = (
        num_validation(dataset, options.validation)
        if kept is None or dataset.validation_candidates is None
        else len(dataset.validation_candidates)
    )
    given = {field: value for field, value in vars(options).items() if field in fields() and value is not None}
    base = preset(options.preset) if options.preset else None
    base = read_config(options.config, base) if options.config else base
    source: dict[str, Value] = {"data.source": options.sources.source}
    config = configuration(dataset, base, {**given, **source, **more}, validation)
    prepared = prepare_with(dataset, config)
    if kept is None:
        drawn = [name_of(dataset, index) for index in prepared.split.validation.tolist()]
        kept = selections.fresh(name, dataset, drawn)
    return _Begun(prepared, config, kept)


def _pool(options: argparse.Namespace, progress: Progress) -> Dataset:
    given = getattr(options, "data.image_size")
    size = 0 if given is None else whole(given)
    require(
        size is not None and 0 <= size <= LARGEST_SIDE,
        f"--data.image_size must be a whole number from 0 to {LARGEST_SIDE}, got {given}.",
    )
    options.sources = Sources(options.pool, tuple(options.labels), size or 0)
    check_apart(options.sources, options.home)
    with progress.doing("reading the pool"):
        return read_pool(options.sources)


def _show_plan(prepared: Prepared, compared: Sequence[Prepared], home: Home) -> None:
    """How much is to be trained."""
    store, problem = Store(home), prepared.problem(prepared.pool)
    specs = [spec for some in prepared.specs().values() for spec in some]
    missing = {problem.key(spec) for spec in missing_specs(problem, specs, store)}
    later = prepared.num_later_trainings
    for one in compared:
        theirs = one.problem(one.pool)
        missing |= {theirs.key(s) for some in one.specs().values() for s in missing_specs(theirs, some, store)}
        later += one.num_later_trainings
    config = prepared.config
    sizes = f"{config.data.num_seed_labels} labels to learn from, {config.data.num_validation} to judge by"
    terminal.show(
        f"{config.strategy}, {config.classifier.name}: {sizes}, {config.acquisition.budget} of "
        f"{len(prepared.pool.unlabelled)} images to ask for.",
        f"{len(missing)} trainings known ahead are missing from {home.path('store')}, at most {later} more follow.",
    )


def _tell(kept: selections.Kept, number: int, prepared: Prepared, home: Home) -> None:
    folder, asked = selections.folder_of(kept.name, number), kept.rounds[number - 1].asked
    share = share_of(home, f"{folder}/{ANSWER}")
    terminal.show(
        f"Round {number} of {kept.name}: {len(prepared.dataset.labelled)} of {len(prepared.dataset.labels)} images are "
        f"labelled. {prepared.config.classifier.name} gets {share.text()} now.",
        f"{len(asked)} images to label, by {shown(prepared.config.strategy)}: {_how(prepared)}.",
    )
    print(home.path(f"{folder}/{ASKED}"))
    print(home.path(folder))


def _how(prepared: Prepared) -> str:
    if prepared.config.data.source.startswith("npz:"):
        return "put their labels into y at the rows in the column file, and run this again with the same --name"
    return f"fill in the column label of {ASKED} and give that file beside the labels so far"


def _labels_csv(dataset: Dataset) -> bytes:
    rows = [(name_of(dataset, one), dataset.class_names[dataset.labels[one]]) for one in dataset.labelled.tolist()]
    return csv_bytes([("file", "label"), *rows])


def _select_parser() -> Parser:
    parser = _pool_parser("select", SELECT)
    group = parser.add_argument_group("what to ask")
    group.add_argument("--budget", type=int, required=True, metavar="B", help="images to label")
    group.add_argument(
        "--compare",
        metavar="LIST",
        help="compare strategies on the labels at hand and ask for nothing: random,margin,…",
    )
    group.add_argument("--plan", action="store_true", help="show what would be trained, and train nothing")
    return _with_fields(parser)


def _train_parser() -> Parser:
    return _with_fields(_pool_parser("train", TRAIN))


def _predict_parser() -> Parser:
    parser = _parser("predict", PREDICT)
    parser.add_argument("--classifier", required=True, metavar="DIR", help="what train has left")
    parser.add_argument("--pool", required=True, metavar="DIR", help="a folder of images, or npz:PATH with x")
    parser.add_argument("--to", required=True, type=Path, metavar="FILE", help="where to write the CSV")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
    return parser


def _pool_parser(name: str, about: str) -> Parser:
    parser = _parser(name, about)
    group = parser.add_argument_group("your pool")
    group.add_argument("--pool", required=True, metavar="DIR", help="a folder of images, or npz:PATH with y = -1")
    group.add_argument(
        "--labels", nargs="+", action="extend", type=Path, default=[], metavar="FILE", help="CSV files: file,label"
    )
    group.add_argument("--name", metavar="NAME", help="what to call it in the home (default: the pool's name)")
    group.add_argument(
        "--validation",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the first labels, kept to judge by and spread over the classes: a share, or a number (default .2)",
    )
    return parser


def _with_fields(parser: Parser) -> Parser:
    add_config_flags(parser)
    for action in [one for one in parser.field_flags if one.dest in SETTLED]:
        del parser.field_flags[action]
        action.help = argparse.SUPPRESS
    for action in parser.field_flags:
        if action.dest in LISTED:  # one of each here
            parser.field_flags[action] = fields()[action.dest].help
    parser.fallback = override(own_pool((1, 28, 28)), {"strategy": STRATEGY})
    add_lab_flags(parser)
    return parser


def _parser(name: str, about: str) -> Parser:
    return Parser(
        prog=f"python -m rambo {name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


_PARSERS: dict[str, Callable[[], Parser]] = {
    "select": _select_parser,
    "train": _train_parser,
    "predict": _predict_parser,
}

COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "select": run_select,
    "train": run_train,
    "predict": run_predict,
}
