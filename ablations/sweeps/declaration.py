"""A sweep as its file declares it: studies with priorities, limits, and what a failure means; checked whole.

What is wrong is named with its line, before anything is loaded or started.
"""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from ablations.factors import Factor, Grid, make_grid, merged, switches
from ablations.paper.recipes import recipe
from ablations.scale import named, scaled
from ablations.sweeps.schema import schema
from rambo.cli import parse_seeds
from rambo.errors import InvalidInput, require
from rambo.fields import Value, coerce, override
from rambo.formats import first_line, path_of, shortened
from rambo.presets import preset
from rambo.strategies.facts import CONTROLS

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value of the file."""

TAKEN = ("driver.lock", "driver.json")
"""Beside the folders of the sweeps."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When no further trial is started; None where there is no such limit."""

    core_hours: float | None = None
    gpu_hours: float | None = None
    deadline: datetime | None = None
    running: int | None = None
    cluster_share: float | None = None
    failures: int | None = None


@dataclass(frozen=True, kw_only=True)
class DeclaredStudy:
    """A study of a sweep."""

    name: str
    grid: Grid
    priority: int = 0
    """Higher ones run first."""
    device: str = "auto"
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    given: frozenset[str] = frozenset()
    """Fields that the file, or its recipe, names: others are the preset's or the code's."""
    recipe: str | None = None
    """The table or figure of the paper that it is."""
    scale: str = "full"
    """At which it is run (`ablations.scale`)."""


@dataclass(frozen=True)
class Sweep:
    """A whole file."""

    name: str
    studies: tuple[DeclaredStudy, ...]
    limits: Limits = field(default_factory=Limits)
    on_failure: Literal["continue", "stop"] = "continue"

    @property
    def by_priority(self) -> tuple[DeclaredStudy, ...]:
        """The studies, highest priority first, as they stand in the file among equals."""
        return tuple(sorted(self.studies, key=lambda study: -study.priority))


def read_text(text: str, source: str, folder: Path) -> Sweep:
    """The sweep that the TOML `text` declares; raises `InvalidInput` with the line of what is wrong.

    `source` names the text in sentences; relative paths are relative to `folder`.
    """
    try:
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nesting without end
        raise InvalidInput(f"{source} must be TOML, got: {first_line(error)}.") from None
    return _Reader(text, source, folder).sweep(content)


def at_scale(sweep: Sweep, scale: str) -> Sweep:
    """The sweep with all of its studies at `scale`, under the names that they have there (`ablations.scale`)."""
    if scale == "full":
        return sweep
    studies = []
    for study in sweep.studies:
        found = scaled(study.grid, scale)
        given = study.given | found.changed.keys()
        studies.append(replace(study, name=named(study.name, scale), grid=found.grid, given=given, scale=scale))
    return replace(sweep, name=named(sweep.name, scale), studies=tuple(studies))


def line_of(text: str, place: Place) -> int:
    r"""The line, from 1, on which the key at `place` stands, or the table that should hold it.

    >>> line_of('name = "a"\n[[study]]\n[[study]]\nseeds = "0"\n', ("study", 1, "seeds"))
    4
    """
    inside: Place = ()
    best, depth = 1, 0
    counts: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line):
            inside = _opened(_keys(header[2]), counts, is_array=header[1] == "[[")
            found = inside
        elif key := re.match(r"""\s*((?:"[^"]*"|'[^']*'|[\w.-])+)\s*=""", line):
            found = (*inside, *_keys(key[1]))
        else:
            continue
        if found == place[: len(found)] and len(found) > depth:
            best, depth = number, len(found)
    return best


def _keys(text: str) -> Place:
    """A dotted key in its parts; quoted parts keep their dots."""
    return tuple(quoted or plain for quoted, plain in re.findall(r"""["']([^"']*)["']|([\w-]+)""", text))


def _opened(keys: Place, counts: dict[Place, int], *, is_array: bool) -> Place:
    """Where a table header leads; a key that names an array of tables is followed by the position of its last."""
    place: Place = ()
    for depth, key in enumerate(keys, start=1):
        place = (*place, key)
        if is_array and depth == len(keys):
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def check_deadline(sweep: Sweep, now: datetime) -> None:
    """Raise `InvalidInput` where the deadline is past: nothing could be started."""
    deadline = sweep.limits.deadline
    if deadline is not None:
        require(
            deadline > now,
            f"limits.deadline must lie ahead, got {_time_text(deadline)} at {_time_text(now)}; set a later one or "
            "leave it out.",
        )


def _time_text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class _Reader:
    """One file's content on its way to a sweep."""

    text: str
    source: str
    folder: Path
    """Relative paths are relative to it."""

    def sweep(self, content: Mapping[str, Any]) -> Sweep:
        self._check(content)
        with self._at(("name",)):
            rule = f"a sweep's name must be none of {' and '.join(TAKEN)}, which are the driver's files, got"
            require(content["name"] not in TAKEN, f"{rule} {content['name']}; give it another.")
        given = content["study"]
        for number, one in enumerate(given):
            earlier = [other["name"] for other in given[:number]]
            with self._at(("study", number, "name")):
                require(
                    one["name"] not in earlier,
                    f"each study must have a name of its own, got {one['name']} twice; give one of them another name, "
                    "or put its levels into one grid.",
                )
        studies = tuple(self._study(one, ("study", number)) for number, one in enumerate(given))
        policy: Any = content.get("policy", {}).get("on_failure", "continue")
        return Sweep(content["name"], studies, self._limits(content.get("limits", {})), policy)

    @contextmanager
    def _at(self, place: Place) -> Iterator[None]:
        """Say on which line it is that something cannot be."""
        try:
            yield
        except InvalidInput as error:
            raise InvalidInput(f"{self.source}, line {line_of(self.text, place)}: {error}") from None

    def _check(self, content: Mapping[str, Any]) -> None:
        """Raise `InvalidInput` for the first thing, by line, that the schema does not allow."""
        from jsonschema import Draft202012Validator

        errors = list(Draft202012Validator(schema()).iter_errors(_as_json(content)))
        there = [error for error in errors if error.validator != "required"]  # a key that is missing may be misspelt
        wrong = [found for error in there or errors for found in _sentences(error)]
        if wrong:
            place, sentence = min(wrong, key=lambda found: line_of(self.text, found[0]))
            with self._at(place):
                raise InvalidInput(sentence)

    def _limits(self, given: Mapping[str, Any]) -> Limits:
        with self._at(("limits", "deadline")):
            deadline = _zoned(given["deadline"]) if "deadline" in given else None
        whole = {name: int(given[name]) for name in ("running", "failures") if name in given}
        return Limits(**{**given, **whole, "deadline": deadline})

    def _study(self, given: Mapping[str, Any], place: Place) -> DeclaredStudy:
        with self._at(place):
            require(
                ("preset" in given) != ("recipe" in given),
                f"the study {given['name']} must have a preset or a recipe, one of the two, got "
                f"{'both' if 'preset' in given else 'neither'}.",
            )
        chosen = recipe(given["recipe"]) if "recipe" in given else None
        base = preset(chosen.preset if chosen else given["preset"])
        changes = {**(chosen.fields if chosen else {}), **self._values(given.get("fields", {}), (*place, "fields"))}
        levels = {name: self._levels(name, values, place) for name, values in given.get("grid", {}).items()}
        changes |= {name: values[0] for name, values in levels.items() if len(values) == 1}
        factors = [Factor(name, _ordered(values)) for name, values in levels.items() if len(values) > 1]
        if chosen:
            factors = merged([one for one in chosen.factors if one.name not in changes], factors)
        with self._at((*place, "seeds")):
            seeds = parse_seeds(given["seeds"])
        with self._at((*place, "name")):
            grid = make_grid(
                override(base, {**changes, "seed": seeds[0]}),
                factors if levels else factors or switches(),
                controls=given.get("controls", chosen.controls if chosen else CONTROLS),
                seeds=seeds,
                design=given.get("design", "factorial"),
            )
        own = {name: given[name] for name in _OWN if name in given}
        return DeclaredStudy(name=given["name"], grid=grid, given=frozenset({*changes, *levels}), **own)

    def _levels(self, name: str, values: Sequence[Any], place: Place) -> tuple[Value, ...]:
        with self._at((*place, "grid", name)):
            return tuple(self._value(name, value) for value in values)

    def _values(self, given: Mapping[str, Any], place: Place) -> dict[str, Value]:
        found = {}
        for name, value in given.items():
            with self._at((*place, name)):
                found[name] = self._value(name, value)
        return found

    def _value(self, name: str, value: Any) -> Value:
        """As the field's type; a path is taken from the file's folder."""
        converted = coerce(name, value)
        if name == "data.source" and ":" in str(converted):
            kind, _, path = str(converted).partition(":")
            return f"{kind}:{self._path(path, name)}"
        if name == "data.labels" and converted:
            return self._path(str(converted), name)
        if name == "utility_model.weights" and converted not in ("imagenet", "random"):
            return self._path(str(converted), name)
        return converted

    def _path(self, text: str, name: str) -> str:
        return str(path_of(self.folder / path_of(text, name), name).resolve())


_OWN = ("recipe", "priority", "device", "cpus_per_trial", "gpus_per_trial")
"""Keys of a study that are fields of `DeclaredStudy`."""

_MOST_LISTED = 20
"""Keys that a sentence lists; of more only the nearest is named."""


def _ordered(levels: tuple[Value, ...]) -> tuple[Value, ...]:
    """A switch goes off and on, in whatever order it is written."""
    return (False, True) if levels in ((True, False), (False, True)) else levels


def _as_json(value: Any) -> Any:
    """`value` in JSON's types: a time as its text, and so what is no number."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _zoned(given: Any) -> datetime:
    """A deadline in UTC, given in TOML's own type or as text; raises `InvalidInput` where its zone is missing."""
    with suppress(ValueError, OverflowError):
        read = datetime.fromisoformat(given) if isinstance(given, str) else given
        if isinstance(read, datetime) and read.tzinfo is not None:
            return read.astimezone(UTC)
    raise InvalidInput(f"limits.deadline must be {_rule(('limits', 'deadline'))}, got {given}.")


def _sentences(error: Any) -> list[tuple[Place, str]]:
    """Where and what for one of jsonschema's errors; an unknown key each has its own."""
    place: Place = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        return [((*place, key), _unknown(place, key, known)) for key in error.instance if key not in known]
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return [(place, f"{_name(place)} must have {' and '.join(missing)}, got none; add it.")] if missing else []
    return [(place, f"{_name(place)} must be {_rule(place)}, got {shortened(error.instance)}.")]


def _unknown(place: Place, key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key, known, n=1, cutoff=0.5)
    meant = f"; did you mean {near[0]}?" if near else "."
    has = f"have keys among {', '.join(known)}" if len(known) <= _MOST_LISTED else "name fields of the configuration"
    return f"{_name(place)} must {has}, got {shortened(key)}{meant}"


def _name(place: Place) -> str:
    """A place as people say it: `limits.running`, `study 2: seeds`; from 1. What is in a list goes by the list."""
    if not place:
        return "A sweep"
    if place[0] != "study" or len(place) == 1:
        return ".".join(map(str, place))
    keys = [str(key) for key in place[2:] if isinstance(key, str)]
    return f"study {int(place[1]) + 1}" + (f": {' '.join(keys)}" if keys else "")


def _rule(place: Place) -> str:
    """What the value at `place` must be; of an item of a list, what the list must be."""
    current, must = schema(), "right"
    for key in place:
        current = current["items"] if isinstance(key, int) else current["properties"][key]
        must = current.get("x-must", must)
    return str(must)
