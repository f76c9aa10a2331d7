"""Which studies `--recipe` asks for, and which file each data set comes from."""

import argparse
from collections.abc import Collection, Mapping, Sequence
from copy import copy

from ablations.factors import Factor, Grid, make_grid, merged, parse_factor, switches
from ablations.paper.recipes import PAPER_SEEDS, SIZED, Recipe, names, recipe, studies
from rambo.cli import read_configs
from rambo.errors import require
from rambo.fields import Value
from rambo.presets import preset
from rambo.strategies.facts import CONTROLS

SOURCE = "data.source"


def add_recipe_flags(group: argparse._ArgumentGroup) -> None:
    """--recipe and --source."""
    group.add_argument("--recipe", metavar="NAME", help=f"a table or figure of the paper: {', '.join(names())}")
    text = "the file of each data set (mnist=npz:mnist.npz), or its name alone; a recipe of several runs these"
    group.add_argument("--source", nargs="+", action="extend", default=[], metavar="NAME=SOURCE", help=text)


def parse_sources(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=SOURCE` by name; a name alone is where that data set usually comes from.

    >>> parse_sources(["mnist=npz:mnist.npz", "svhn"])
    {'mnist': 'npz:mnist.npz', 'svhn': 'svhn'}
    """
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, source) in zip(texts, pairs, strict=True):
        require(bool(name) and bool(source or not equals), f"--source must be NAME=SOURCE or NAME, got {text}.")
    found = {name: source or name for name, _, source in pairs}
    require(len(found) == len(texts), f"--source must name each data set once, got {' '.join(texts)}.")
    return found


def chosen_recipes(name: str, sources: Mapping[str, str]) -> dict[str, Recipe]:
    """The studies of `name` on the data sets that `sources` names, by name; all of them where it names none.

    Raises `InvalidInput` for a name that is none, and for a data set that is in none of its studies.
    """
    found = studies(name)
    _check_there(name, sources, {one.data for one in found.values()})
    return {key: one for key, one in found.items() if not sources or one.data in sources}


def asked_data(options: argparse.Namespace) -> dict[str, str]:
    """The sources of a name that needs no trial, by data set: those that --source names, else all."""
    sources, there = parse_sources(options.source), SIZED[options.recipe]
    given = getattr(options, SOURCE)
    require(
        not (given and (sources or len(there) > 1)),
        f"--data.source must be for one data set, got {options.recipe}; use --source NAME=SOURCE.",
    )
    _check_there(options.recipe, sources, there)
    return {data: sources.get(data, given or data) for data in there if not sources or data in sources}


def asked_studies(options: argparse.Namespace) -> list[argparse.Namespace]:
    """`options` once for each study that they ask for: its recipe, its data and its name in place."""
    sources = parse_sources(options.source)
    require(
        not sources or getattr(options, SOURCE) is None,
        "--source and --data.source must not both say where data come from, got both; keep one.",
    )
    if options.recipe is None:
        return [_with_sources(options, sources)]
    found = chosen_recipes(options.recipe, sources)
    require(
        len(found) == 1 or getattr(options, SOURCE) is None,
        f"--data.source must be for one data set, got {options.recipe} of {len(found)}; use --source NAME=SOURCE.",
    )
    return [_of_recipe(options, name, one, sources) for name, one in found.items()]


def read_grid(options: argparse.Namespace) -> Grid:
    """The grid that the flags ask for; a recipe stands below them."""
    controls, sources = options.controls, parse_sources(options.source)
    factors = [_from_files(parse_factor(text), sources) for text in options.factor]
    if options.recipe is not None:
        chosen = recipe(options.recipe)
        for name in {factor.name for factor in chosen.factors} - {factor.name for factor in factors}:
            require(
                getattr(options, name) is None,
                f"--{name} must not be one value, since {options.recipe} varies it; give levels by --factor {name}=….",
            )
        options.preset = options.preset or (chosen.preset if options.config is None else None)
        for field, value in chosen.fields.items():
            if getattr(options, field) is None:
                setattr(options, field, value)
        factors = merged(list(chosen.factors), factors)
        controls = (",".join(chosen.controls) or "none") if controls is None else controls
        options.seed = PAPER_SEEDS if options.seed is None else options.seed
    configs = read_configs(options)
    seeds = [config.seed for config in configs]
    require(
        len(set(seeds)) == len(seeds), "--strategy must name one strategy here, got several; use --factor strategy=…"
    )
    listed = [name for name in (controls if controls is not None else ",".join(CONTROLS)).split(",") if name != "none"]
    return make_grid(configs[0], factors or switches(), controls=listed, seeds=seeds, design=options.design)


def _check_there(name: str, sources: Mapping[str, str], there: Collection[str]) -> None:
    unknown = [one for one in sources if one not in there]
    require(
        not unknown,
        f"--source must name data sets of {name}, {', '.join(sorted(there))}, got {', '.join(unknown)}; take it out.",
    )


def _with_sources(options: argparse.Namespace, sources: Mapping[str, str]) -> argparse.Namespace:
    """A preset's own data set from its file; others must be levels of data.source."""
    found, levels = copy(options), {level for text in options.factor for level in _levels(text)}
    usual = "" if options.preset is None else preset(options.preset).data.source
    unknown = [name for name in sources if name not in {usual, *levels}]
    require(
        not unknown,
        f"--source must name the preset's data set or a level of --factor data.source, got {', '.join(unknown)}.",
    )
    if usual in sources:
        setattr(found, SOURCE, sources[usual])
    return found


def _of_recipe(
    options: argparse.Namespace, name: str, chosen: Recipe, sources: Mapping[str, str]
) -> argparse.Namespace:
    found = copy(options)
    suffix = f"-{chosen.data}" if name != options.recipe else ""
    found.recipe, found.study = name, None if options.study is None else f"{options.study}{suffix}"
    if chosen.data in sources:
        setattr(found, SOURCE, sources[chosen.data])
    return found


def _levels(factor: str) -> list[str]:
    field, _, levels = factor.partition("=")
    return levels.split(",") if field == SOURCE else []


def _from_files(factor: Factor, sources: Mapping[str, str]) -> Factor:
    if factor.name != SOURCE:
        return factor
    levels: tuple[Value, ...] = tuple(sources.get(str(level), level) for level in factor.levels)
    return Factor(SOURCE, levels)
