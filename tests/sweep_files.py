"""The text of sweeps' files, and trials made up for them."""

from tiny_experiment import TINY

from ablations.sweeps.studies import with_owner
from rambo.fields import to_json
from rambo.formats import json_bytes
from rambo.training.trainer import TRAINING_VERSION

RESULT = {
    "data": "d", "config_id": "c", "seed": 0, "strategy": "random", "test_accuracy": 0.5, "val_accuracy": 0.5,
    "base_test_accuracy": 0.4, "base_val_accuracy": 0.4, "num_labelled": 100, "pair_accuracy": None,
    "pair_ceiling": None, "label_agreement": None, "trainings": 3, "seconds": {"selection": 1.0},
}  # fmt: skip


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f'"{name}" = {toml(item)}' for name, item in value.items())
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def study_text(name, *, seeds="0-1", priority=0, fields=None, **grid):
    levels = {"strategy": ["random", "margin"], **{key.replace("__", "."): value for key, value in grid.items()}}
    lines = [f'name = "{name}"', 'preset = "quickstart"', f"priority = {priority}", f'seeds = "{seeds}"']
    same = toml({**TINY, **(fields or {})})
    varied = toml({key: value for key, value in levels.items() if value})
    return "\n".join(["[[study]]", *lines, "controls = []", "[study.fields]", same, "[study.grid]", varied])


def finish(home, one, version=TRAINING_VERSION):
    home.write(f"{one.folder}/result.json", json_bytes(RESULT))
    home.write(f"{one.folder}/environment.json", json_bytes({"training_version": version}))
    home.write(f"{one.folder}/config.json", to_json(one.config).encode())


def keep_plan(study, home):
    home.write(f"studies/{study.name}/plan.json", with_owner(study, home).to_bytes())
