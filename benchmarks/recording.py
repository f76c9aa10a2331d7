"""python -m benchmarks record STUDY…: keep finished studies of a home as records that docs/results.md can quote.

A record is the plan, of each trial what was bought and what came of it, and the measurements of the final trainings.
Tables and figures are made from these anew, and `ablations verify --deep` holds them to each other. û's weights and the
utility samples stay in the home: they are large, and the same command makes them again.
"""

import argparse
import json
from pathlib import Path

from ablations.__main__ import main as ablations
from ablations.deep.trainings import read_trials
from ablations.factors import FILES, value_text
from ablations.paper.asked import SOURCE
from ablations.plans import existing_plan
from rambo.home import Home
from rambo.store import Store

KEPT = ("config.json", "environment.json", "selected.csv", "held_out.csv", "failure.json", "result.json")
"""Of a trial's folder; the result last, since it says that the rest is there."""


def main(arguments: list[str]) -> None:
    """Copy studies of one home into another and make their reports there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks record", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="+", metavar="STUDY")
    parser.add_argument("--home", required=True, help="where they were run")
    parser.add_argument("--into", required=True, help="the home of the records")
    parser.add_argument("--data.source", dest="source", metavar="SOURCE", help="where the trials' data lie now")
    options = parser.parse_args(arguments)
    home, records = Home(options.home), Home(options.into)
    for study in options.studies:
        record(study, home, records, options.source)
        ablations(["report", "--study", study, "--home", options.into, "--quiet"])
        for path in Path(options.into, "studies", study).rglob("*"):
            if path.suffix == ".pdf" or path.name == "reporting.json":
                path.unlink()


def record(study: str, home: Home, records: Home, source: str | None) -> None:
    """Copy the plan, the trials and their final measurements of `study`; what is recorded already stays as it is."""
    plan, store, kept = existing_plan(home, study), Store(home, compact=False), Store(records)
    for folder in dict.fromkeys(plan.folders.values()):
        if records.read(f"{folder}/result.json") is None:
            for name in KEPT:
                if (content := home.read(f"{folder}/{name}")) is not None:
                    records.write(f"{folder}/{name}", _without_folders(content) if name == "config.json" else content)
    records.write(f"studies/{study}/plan.json", plan.to_bytes())
    keys = set()
    for _, trial, sentence in read_trials(plan, records, Path("unused"), source):
        if trial is None:
            raise SystemExit(f"benchmarks: {sentence}")
        bought = (one for one in trial.judged if one.what.startswith("S_1"))
        keys |= {one.problem.key(spec) for one in bought for spec in one.specs}
    missing = sorted(keys - kept.known_measurements(keys))
    found = store.measurements(missing)
    kept.put_measurements(found)
    lacking = f"; {len(missing) - len(found)} are in neither store" if len(found) < len(missing) else ""
    print(f"{study}: {len(plan.folders)} trials, {len(keys)} measurements, {len(found)} of them new{lacking}.")


def _without_folders(content: bytes) -> bytes:
    """A configuration whose files are named without their folders: where they lay is no matter of a record."""
    config = json.loads(content)
    for field in (SOURCE, *FILES):
        section, _, name = field.partition(".")
        if name in config[section]:  # a configuration may be older than the field
            config[section][name] = value_text(field, config[section][name])
    return (json.dumps(config, indent=2) + "\n").encode()
