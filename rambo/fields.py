"""The configuration by dotted name: list, read, change, save, identify.

Flags, JSON files, ablation factors and search spaces all go through `override`, so a field has one name, one type
and one error message everywhere.
"""

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse_from_object

from rambo import identity
from rambo.config import Config
from rambo.errors import InvalidInput, require
from rambo.formats import first_line, number, path_of, shortened, whole
from rambo.own import OneOf

Value = int | float | str | bool
"""What a field holds."""

_IDENTITY_FREE = ("seed", "data.source", "data.image_size", "data.labels")
"""Fields outside the id: the seed and the data's fingerprint (resizing included) stand beside it in a trial's path."""


_MEASURED = (
    "data.",
    "classifier.",
    "classifier_source",
    "training.",
    "offline.",
    "pretraining.",
    "utility.",
    "evaluation.",
    "utility_model.extractor",
    "utility_model.weights",
    "strategy",
    "acquisition.batch_size",
    "acquisition.scout",
    "acquisition.num_scouts",
)
"""Fields that change what can be measured before a trial, or how these begin; OT apart, which is measured or not."""


@dataclass(frozen=True)
class Field:
    """A leaf of the configuration: its dotted name, its type and its docstring."""

    name: str
    hint: Any
    help: str
    as_before: Value | None = None
    """For a field that came later, the value that means what was done before; None for those that were first."""

    @property
    def choices(self) -> str:
        """The type in words: `int`, `interpolated|trained|hybrid`, `int|all`."""
        return "|".join(_describe(hint) for hint in _alternatives(self.hint))


@cache
def fields(cls: type = Config) -> dict[str, Field]:
    """Every leaf of a configuration by dotted name, in the order of the classes."""
    return {leaf.name: leaf for leaf in _leaves(cls, prefix="")}


def _known(config: Config) -> dict[str, Field]:
    """The fields of the configuration's own class, which may have grown."""
    found: dict[str, Field] = fields(type(config))  # type: ignore[arg-type]  # a class can be hashed
    return found


def flatten(config: Config) -> dict[str, Value]:
    """The values of `config` by dotted name.

    >>> flatten(Config())["acquisition.budget"]
    500
    """
    return {name: _get(config, name) for name in _known(config)}


def override(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy of `config` with `changes` (dotted name to value, or to its text as typed on a command line).

    Raises `InvalidInput` for a name that is no field, a value of the wrong type, or fields that do not fit together.
    """
    values, cls = flatten(config), type(config)
    for name, value in changes.items():
        values[name] = coerce(name, value, cls)
    return _build(cls, values)


def coerce(name: str, value: Any, cls: type = Config) -> Value:
    """`value` as the type of field `name`; text is parsed, a JSON value is checked."""
    known = fields(cls)
    require(name in known, f"A field must be one of {', '.join(known)}; got {shortened(name)}.")
    for hint in _alternatives(known[name].hint):
        converted = _convert(hint, value)
        if converted is not None:
            return converted
    raise InvalidInput(f"{name} must be {known[name].choices}, got {shortened(value)}.")


def read_config(path: Path, base: Config | None = None) -> Config:
    """A configuration from JSON, flat or nested, over the defaults or over `base`; unknown fields are refused."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InvalidInput(f"--config must name a file that exists, got {path}.") from None
    except (OSError, ValueError, RecursionError) as error:  # bytes that are no text, no JSON, numbers without end
        raise InvalidInput(f"--config must name a readable JSON file, got {path} ({first_line(error)}).") from None
    require(isinstance(content, dict), f"--config must hold a JSON object of fields, got {path}.")
    return from_nested(content, base)


def from_nested(content: Mapping[str, Any], base: Config | None = None) -> Config:
    """The configuration that JSON of `to_json`, or any part of it, stands for.

    What was written whole before a field existed means what was done then; a file of some fields takes the defaults of
    the others.
    """
    given, base = dict(_flat_items(content)), base or Config()
    known = _known(base)
    whole = all(name in given for name, leaf in known.items() if leaf.as_before is None)
    before = {name: leaf.as_before for name, leaf in known.items() if leaf.as_before is not None} if whole else {}
    return override(base, {**before, **given})


def with_absolute_paths(config: Config) -> Config:
    """The same experiment for a process that works in another folder."""
    changes = {"data.source": absolute_source(config.data.source)}
    if config.data.labels:
        changes["data.labels"] = str(path_of(config.data.labels, "data.labels").resolve())
    if config.utility_model.weights not in ("imagenet", "random"):
        changes["utility_model.weights"] = str(path_of(config.utility_model.weights, "utility_model.weights").resolve())
    return override(config, changes)


def absolute_source(source: str) -> str:
    """`data.source` as any folder's processes read it; the names of known data sets stay."""
    kind, colon, path = source.partition(":")
    return f"{kind}:{path_of(path, 'data.source').resolve()}" if colon and path else source


def to_json(config: Config) -> str:
    """The configuration as nested JSON that `read_config` takes back."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def in_force(config: Config) -> Config:
    """`config` with the values that its strategy's record fixes."""
    return override(config, dict(config.facts.fixed)) if config.facts.fixed else config


def effective_fields(config: Config, pool_size: int) -> dict[str, Value]:
    """The fields that can change the result of this strategy, with M resolved to images.

    Fields that the strategy does not read are left out, and so are later ones at the value that means what was done
    before them. `switches.ot = False` equals λ_OT = 0, and what a switched-off component would have read is dropped, so
    that equal experiments have equal ids. What is of the user's own counts by the bytes of its file too.
    """
    config, known = in_force(config), _known(config)
    read = {name: value for name, value in flatten(config).items() if config.facts.reads(name)}
    values = {name: value for name, value in read.items() if name not in _IDENTITY_FREE}
    values = {name: value for name, value in values.items() if value != known[name].as_before}
    if "acquisition.candidate_batches" in values:
        batches, size = values.pop("acquisition.candidate_batches"), config.acquisition.batch_size
        values["acquisition.num_candidates"] = pool_size if batches == "all" else min(int(batches) * size, pool_size)
    values.pop("acquisition.num_scouts", None)
    if config.num_scouts > 1:
        values["acquisition.num_scouts"] = config.num_scouts
    if config.facts.learns_utility and config.utility_model.extractor == "resnet18":
        values["utility_model.weights"] = weights_id(str(values["utility_model.weights"]))
    unread = _unread(config)
    values = {name: value for name, value in values.items() if not name.startswith(unread)}
    if config.facts.source:
        values["strategy_source"] = config.facts.source
    if config.own_classifier is not None:
        values["classifier_source"] = config.own_classifier.source().digest
    return values


def read_fields(config: Config) -> dict[str, Value]:
    """The fields that `config`'s result depends on, by the names and values that people give, the seed among them.

    OT is on where û predicts OT distances. Of a strategy of the user's own all are listed: what it reads its module
    says, which may be gone.
    """
    if config.has_own_strategy:
        return flatten(config)
    config, facts = in_force(config), config.facts
    values = {name: value for name, value in flatten(config).items() if name in _IDENTITY_FREE or facts.reads(name)}
    values = {name: value for name, value in values.items() if not name.startswith(_unread(config))}
    if facts.learns_utility:
        values["switches.ot"] = config.uses_ot
    return values


def config_id(config: Config, pool_size: int) -> str:
    """16 hex digits of SHA-256 over `effective_fields`."""
    return digest_of(effective_fields(config, pool_size))


def digest_of(values: Mapping[str, Value]) -> str:
    """16 hex digits of SHA-256 over fields and their values."""
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()[:16]


def changes_measured(name: str) -> bool:
    """Whether the field `name` changes what can be measured before a trial's acquisition."""
    return name.startswith(_MEASURED)


def weights_id(weights: str) -> str:
    """`imagenet`, `random`, or 16 hex digits of SHA-256 over the bytes of the file that `weights` names."""
    if weights in ("imagenet", "random"):
        return weights
    try:
        with path_of(weights, "utility_model.weights").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InvalidInput(
            f"utility_model.weights must be imagenet, random or a file that can be read, got {weights} "
            f"({error.strerror}); pass the path of a ResNet-18 state dict."
        ) from None


def _unread(config: Config) -> tuple[str, ...]:
    """Beginnings of the fields that go unread as others are set, though the strategy reads them in general."""
    unread: tuple[str, ...] = () if config.imagines else ("acquisition.num_parts",)
    unread += () if config.data.label_noise else ("data.label_noise_classes",)
    unread += _unread_by_classifier(config) if config.classifier.is_deterministic else ()
    return unread + (_unread_by_utility_model(config) if config.facts.learns_utility else ())


def _unread_by_classifier(config: Config) -> tuple[str, ...]:
    """Those of a classifier that no seed and no training setting changes; a strategy may read its step size still."""
    unread = ("training.batch_size", "training.max_epochs", "training.target_accuracy", "acquisition.num_scouts")
    return unread if "learning_rate" in config.facts.grants else (*unread, "training.learning_rate")


def _unread_by_utility_model(config: Config) -> tuple[str, ...]:
    """Beginnings of the fields that û never reads as its components are switched (the switches apart)."""
    unread: tuple[str, ...] = ()
    if not config.switches.ot or config.utility_model.lambda_ot == 0:
        unread += ("switches.ot", "utility_model.lambda_", "utility_model.ot_unit")
    if config.switches.bilevel:
        unread += ("utility_model.one_level",)
    else:
        unread += ("utility_model.outer_learning_rate", "utility_model.hypergradient", "utility_model.penalty_cap")
        if config.utility_model.one_level != "sgd_half":
            unread += ("utility_model.inner_learning_rate", "utility_model.inner_gradient_norm")
    if config.utility_model.extractor != "resnet18":
        unread += ("utility_model.weights",)
    return unread


def _leaves(cls: type, prefix: str) -> list[Field]:
    help_texts = {item.arg_name: item.description or "" for item in parse_from_object(cls).params}
    hints, found = get_type_hints(cls, include_extras=True), []
    for field in dataclasses.fields(cls):
        name, hint = field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            found += _leaves(hint, prefix=f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            help_text = " ".join(help_texts.get(name, "").split())
            found.append(Field(prefix + name, hint, help_text, identity.as_before(field)))
    return found


def _get(config: Config, name: str) -> Value:
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _build(cls: type[Config], values: Mapping[str, Value]) -> Config:
    sections: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for name, value in values.items():
        section, _, leaf = name.rpartition(".")
        (sections.setdefault(section, {}) if section else top)[leaf] = value
    classes = get_type_hints(cls)
    return cls(**{name: classes[name](**leaves) for name, leaves in sections.items()}, **top)


def _flat_items(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for name, value in content.items():
        nested = isinstance(value, dict)
        items += _flat_items(value, f"{prefix}{name}.") if nested else [(prefix + name, value)]
    return items


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _describe(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    if get_origin(hint) is Annotated:
        return "|".join([*_one_of(hint).names, _one_of(hint).form])
    return {bool: "true|false", str: "text"}.get(hint, hint.__name__)


def _convert(hint: Any, value: Any) -> Value | None:
    """`value` as `hint`, or None where it is not one."""
    if get_origin(hint) is Literal:
        return value if value in get_args(hint) else None
    if get_origin(hint) is Annotated:
        fits = isinstance(value, str) and (value in _one_of(hint).names or _one_of(hint).has_form(value))
        return value if fits else None
    if hint is bool:
        return _BOOLEANS.get(str(value).lower())
    if isinstance(value, bool):
        return None
    if hint is str:
        return value if isinstance(value, str) else None
    return whole(value) if hint is int else number(value)


def _one_of(hint: Any) -> OneOf:
    """What text may be."""
    [found] = [note for note in hint.__metadata__ if isinstance(note, OneOf)]
    return found


_BOOLEANS = {"true": True, "on": True, "1": True, "false": False, "off": False, "0": False}
