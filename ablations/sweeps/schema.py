"""What a sweep's file may say, as a JSON schema: the one list of its keys, for the reader of files and for editors.

`x-must` completes the sentence "<key> must be …" where a value is wrong.
"""

from functools import cache
from typing import Any

from ablations.paper.recipes import RECIPES
from rambo.fields import fields
from rambo.presets import PRESETS
from rambo.strategies.facts import CONTROLS

Schema = dict[str, Any]

NAME = "letters, digits, '-', '_' and '.', beginning with a letter or a digit"


def _key(must: str, about: str, **rules: Any) -> Schema:
    return {"description": about, "x-must": must, **rules}


def _table(about: str, properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    return {
        "type": "object",
        "description": about,
        "x-must": "a table of keys",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _positive(what: str, about: str) -> Schema:
    return _key(f"{what} above 0", about, type="number", exclusiveMinimum=0)


def _count(about: str) -> Schema:
    return _key("a whole number from 1", about, type="integer", minimum=1)


def _named(about: str) -> Schema:
    return _key(f"a name of {NAME}", about, type="string", pattern=r"^[\w][\w.-]*$", maxLength=100)


def _limits() -> Schema:
    return _table(
        "When no further trial is started; what runs is left to end. All are optional.",
        {
            "core_hours": _positive("a number of hours", "Core-hours that all trials and trainings may take in all"),
            "gpu_hours": _positive("a number of hours", "The same of GPUs"),
            "deadline": _key(
                "a time with its zone, such as 2026-12-24T08:00:00Z",
                "No trial is started that is not expected to end before",
                type="string",
                format="date-time",
            ),
            "running": _count("Trials that run at a time, at most"),
            "cluster_share": _key(
                "a share above 0, up to 1",
                "Of the cluster's CPUs that this sweep's trials may hold at a time",
                type="number",
                exclusiveMinimum=0,
                maximum=1,
            ),
            "failures": _count("Trials that may fail before no further one is started"),
        },
    )


def _levels() -> Schema:
    level: Schema = {"type": ["string", "number", "integer", "boolean"]}
    must = "a list of different values"
    return _key(must, "Levels that the field takes", type="array", items=level, minItems=1, uniqueItems=True)


def _study() -> Schema:
    value: Schema = _key("one value", "A field of the configuration", type=["string", "number", "integer", "boolean"])
    known = {name: {**value, "description": field.help} for name, field in fields().items() if name != "seed"}
    levels = {name: {**_levels(), "description": field.help} for name, field in fields().items() if name != "seed"}
    presets, recipes = sorted(PRESETS), sorted(RECIPES)
    return _table(
        "A study of the home, as `python -m ablations run --study` would make it.",
        {
            "name": _named("What the study is called in the home and in MLflow"),
            "preset": _key(f"one of {', '.join(presets)}", "The configuration to begin with", enum=presets),
            "recipe": _key(f"one of {', '.join(recipes)}", "Of the paper: preset and factors", enum=recipes),
            "priority": _key("a whole number", "Higher ones run first; 0 unless given", type="integer"),
            "seeds": _key(
                'text such as "0-9" or "0,2,5-7"', "The seeds that every cell runs with", type="string", minLength=1
            ),
            "controls": _key(
                f"a list of some of {', '.join(CONTROLS)}",
                "Strategies to compare with; all of them unless given",
                type="array",
                items={"enum": list(CONTROLS)},
                uniqueItems=True,
            ),
            "design": _key(
                "factorial or one-at-a-time",
                "Every combination of levels, or the base with one changed at a time",
                enum=["factorial", "one-at-a-time"],
            ),
            "device": _key("auto, cpu or cuda", "What trials compute on", enum=["auto", "cpu", "cuda"]),
            "cpus_per_trial": _positive("a number", "CPUs that a trial holds; 1 unless given"),
            "gpus_per_trial": _key(
                "0, a share of one, or a whole number",
                "GPUs, or the share of one, that a trial holds",
                type="number",
                minimum=0,
                anyOf=[{"maximum": 1}, {"type": "integer"}],
            ),
            "fields": _table("Fields over the preset or the recipe, the same in every cell", known),
            "grid": _table("Fields with the levels that cells combine", levels),
        },
        required=("name", "seeds"),
    )


@cache
def schema() -> Schema:
    """The schema of a whole file, draft 2020-12."""
    top = _table(
        "A sweep: studies that one driver brings to completion (python -m ablations sweep).",
        {
            "name": _named("What the sweep is called in the home"),
            "limits": _limits(),
            "policy": _table(
                "What happens when a trial fails.",
                {
                    "on_failure": _key(
                        "continue or stop",
                        "Whether other trials go on after one that failed for good; they do unless told otherwise",
                        enum=["continue", "stop"],
                    )
                },
            ),
            "study": _key("one or more [[study]] tables", "The studies", type="array", items=_study(), minItems=1),
        },
        required=("name", "study"),
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sweep", **top}
