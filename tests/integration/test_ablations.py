"""The ablations command, run for real: Ray Tune, MLflow on SQLite, kills."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from here import run_here, sentences
from tiny_experiment import TINY_FLAGS

from cluster.runtime import connected
from rambo.home import Home

STUDY_FLAGS = [
    *TINY_FLAGS,
    "--home=home",
    "--study=tiny",
]
STUDY = ["--factor=switches.ot", "--factor=switches.ranknet", "--controls=random"]
TABLES = ("table.md", "table.tex", "table.csv", "effects.csv", "trials.csv", "sentences.txt")
PATIENCE = 280


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "ablations", *arguments]


def in_a_process(*arguments: str, cwd: Path):
    answer = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, timeout=PATIENCE)
    assert answer.returncode == 0, answer.stderr
    return answer


def ablations(*arguments: str, cwd: Path, check: bool = True):
    answer = run_here("ablations", *arguments, cwd=cwd)
    assert not check or answer.returncode == 0, answer.stderr
    return answer


def run(*flags: str, cwd: Path, check: bool = True):
    return ablations("run", *STUDY_FLAGS, *STUDY, *flags, cwd=cwd, check=check)


def files(root: Path) -> dict[str, bytes]:
    return {name: (root / "home/studies/tiny" / name).read_bytes() for name in TABLES}


def ledger(root: Path) -> list[tuple[str, str]]:
    lines = Home(root / "home").read_lines("studies/tiny/ledger.jsonl")
    return [(entry["event"], entry["trial"]) for entry in map(json.loads, lines)]


def shown(root: Path):
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(f"sqlite:///{root}/home/mlflow.db")
    [experiment] = [e for e in client.search_experiments() if e.name == "ablations/tiny"]
    return client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL)


def active(root: Path):
    return [one for one in shown(root) if one.info.lifecycle_stage == "active"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of four cells and a control, two seeds."""
    root = tmp_path_factory.mktemp("finished")
    return root, in_a_process("run", *STUDY_FLAGS, *STUDY, "--seeds=0-1", cwd=root)


@pytest.fixture(scope="module")
def two_cpus():
    """One Ray for all trials that are run in this process."""
    with connected(2) as resources:
        yield resources


def test_a_study_leaves_tables_figures_a_page_and_every_trial_in_mlflow(finished):
    root, answer = finished
    folder = root / "home/studies/tiny"
    for name in (*TABLES, "plan.json", "ledger.jsonl", "report.html", "figures/cells.png", "figures/effects.png"):
        assert (folder / name).stat().st_size > 0, name
    assert max(map(len, answer.stdout.split("10 trials were run now")[0].splitlines())) <= 80
    assert "|" not in answer.stdout, "what is printed is no Markdown"
    assert "10 trials were run now" in answer.stdout
    assert sorted(event for event, _ in ledger(root)) == ["done"] * 10 + ["start"] * 10
    runs = active(root)
    assert {one.info.status for one in runs} == {"FINISHED"}
    [parent] = [one for one in runs if one.data.tags.get("kind") == "study"]
    assert (folder / "table.md").read_text() in parent.data.tags["mlflow.note.content"]
    below = [one.data.tags["kind"] for one in runs if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert (below.count("trial"), below.count("cell")) == (10, 5)


def test_the_second_run_runs_no_trial_and_leaves_the_same_bytes(finished):
    root, _ = finished
    before, entered = files(root), ledger(root)
    runs = {one.info.run_id for one in active(root)}
    again = run("--seeds=0-1", cwd=root)
    assert "0 trials were run now" in again.stdout
    assert files(root) == before
    assert ledger(root) == entered
    assert {one.info.run_id for one in active(root)} == runs


def test_verify_agrees_and_notices_what_was_changed(finished, tmp_path):
    import shutil

    root, _ = finished
    said = ablations("verify", "--study=tiny", "--home=home", "--retrain=2", cwd=root).stdout
    assert "agree with the trial folders" in said
    assert "accuracies of 10 trials were worked out anew" in said
    shutil.copytree(root / "home", tmp_path / "home")
    path = next((tmp_path / "home/trials").rglob("result.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "test_accuracy": 0.123, "pair_accuracy": 0.9}))
    answer = ablations("verify", "--study=tiny", "--home=home", cwd=tmp_path, check=False)
    assert answer.returncode == 2
    assert "table.md is not what the trial folders give." in answer.stdout
    assert "--study tiny must agree with its trial folders" in answer.stderr


def test_a_record_holds_what_verify_needs_and_keeps_the_same_tables(finished, tmp_path):
    import shutil

    root, _ = finished
    first, second = (recorded(root, tmp_path).partition(" of them new")[0] for _ in range(2))
    number = first.rpartition(" ")[2]
    assert first == f"tiny: 10 trials, {number} measurements, {number}"
    assert second == f"tiny: 10 trials, {number} measurements, 0"
    assert int(number) > 0
    verified = ablations("verify", "--study=tiny", "--home=home", "--deep", cwd=tmp_path).stdout
    assert "agree with the trial folders" in verified
    before, after = (one / "home/studies/tiny/table.csv" for one in (root, tmp_path))
    assert after.read_bytes() == before.read_bytes()
    shutil.rmtree(tmp_path / "home/store")
    lacking = recorded(tmp_path, tmp_path / "again").partition("\n")[0]
    assert lacking == f"tiny: 10 trials, {number} measurements, 0 of them new; {number} are in neither store."


def recorded(root, into):
    words = [sys.executable, "-m", "benchmarks", "record", "tiny", f"--home={root}/home", f"--into={into}/home"]
    answer = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=PATIENCE)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_failed_trial_is_shown_as_missing_and_the_rest_agrees_as_it_was_judged(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home")
    folder = next((tmp_path / "home/trials").rglob("result.json")).parent
    (folder / "result.json").unlink()
    (folder / "failure.json").write_text(json.dumps({"cause": "collapsed", "reason": "it orders nothing"}))
    answer = run("--seeds=0-1", "--margin=.5", cwd=tmp_path, check=False)
    assert answer.returncode == 1
    assert "0 trials were run now" in answer.stdout
    assert "Mind: this study should have the same seeds in all cells" in answer.stdout
    assert "1 of 10 trials has no result" in answer.stdout
    assert "at the scale of 0.5 points" in (tmp_path / "home/studies/tiny/sentences.txt").read_text()
    verified = ablations("verify", "--study=tiny", "--home=home", cwd=tmp_path).stdout
    assert "agree with the trial folders.\n1 of them failed and is shown as missing." in verified
    before = files(tmp_path)
    ablations("report", "--study=tiny", "--home=home", cwd=tmp_path)
    assert files(tmp_path) == before
    assert "10 trials of tiny are in MLflow" in ablations("sync", "--study=tiny", "--home=home", cwd=tmp_path).stdout
    assert [one.info.status for one in active(tmp_path)].count("FAILED") == 2, "the trial and the study"


@pytest.fixture
def outdated(finished, tmp_path):
    """The study above with a trial of another training version; MLflow has not heard of it."""
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    path = next((tmp_path / "home/trials").rglob("environment.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "training_version": 0}))
    return tmp_path


def test_trials_of_another_training_version_are_refused(finished, outdated):
    for refused in (["run", *STUDY_FLAGS, *STUDY, "--seeds=0-1"], *(["report"], ["verify"], ["sync"])):
        flags = refused if refused[0] == "run" else [*refused, "--study=tiny", "--home=home"]
        answer = ablations(*flags, cwd=outdated, check=False)
        assert answer.returncode == 2
        [line] = sentences(answer.stderr)
        assert "must have one training version, got version 0 in 1 trial; version" in line
        assert "run it with --rerun-outdated, or pass --allow-mixed" in line
    assert files(outdated) == files(finished[0])


@pytest.mark.long
def test_trials_of_another_training_version_are_marked_or_run_again(finished, two_cpus, outdated):
    marked = run("--seeds=0-1", "--allow-mixed", cwd=outdated)
    assert "0 trials were run now" in marked.stdout
    assert "Mind: this study should have one training version" in marked.stdout
    assert "agree with" in ablations("verify", "--study=tiny", "--home=home", cwd=outdated).stdout
    again = run("--seeds=0-1", "--rerun-outdated", cwd=outdated)
    assert "1 trial was run now" in again.stdout
    assert files(outdated) == files(finished[0])


@pytest.mark.long
def test_one_factor_at_a_time_and_strategies_as_levels_run_as_the_factorial_does(finished, two_cpus, tmp_path):
    """On the trials and the store of the study above: what is new of them is the controls' and one cell's."""
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    base = [*TINY_FLAGS, "--home=home", "--seeds=0-1", "--controls=none", "--factor=strategy=rambo,random,margin"]
    factors = ["--factor=switches.ot", "--design=one-at-a-time", "--study=apart"]
    answer = ablations("run", *base, *factors, cwd=tmp_path)
    assert "2 trials were run now" in answer.stdout, "margin's: the base without OT and random are there"
    table = (tmp_path / "home/studies/apart/table.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in table[1:]] == [
        ["strategy=rambo OT=on", "rambo"],
        ["strategy=random OT=on", "random"],
        ["strategy=margin OT=on", "margin"],
        ["strategy=rambo OT=off", "rambo"],
    ]
    effects = list(csv.DictReader((tmp_path / "home/studies/apart/effects.csv").open()))
    names = ["strategy: random − rambo", "strategy: margin − rambo", "OT"]
    assert [row["name"] for row in effects] == names * 2
    assert {row["num_tests"] for row in effects} == {"3"}
    assert "agree with" in ablations("verify", "--study=apart", "--home=home", cwd=tmp_path).stdout


def test_a_recipe_s_plan_says_what_a_table_of_the_paper_costs(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (3500, 28, 28), dtype=np.uint8), np.arange(3500) % 10
    np.savez(tmp_path / "images.npz", x=images, y=labels)
    flags = ["--data.source=npz:images.npz", "--seeds=0", "--training.max_epochs=1", "--home=home"]
    plan = ablations("run", "--recipe=table4", *flags, "--plan", cwd=tmp_path).stdout
    assert "12 different trials; 12 to run." in plan
    assert "up to 36 later ones" in plan
    assert "these trainings take about" in plan
    [hours] = [line.split()[-2] for line in plan.splitlines() if line.endswith("GPU-hours.")]
    trainings = int(plan.split("Missing: ")[1].split()[0]) + 36
    assert float(hours) == pytest.approx(6 * trainings / 3600, abs=0.05)
    assert not (tmp_path / "home").exists()


def test_mlflow_is_rebuilt_from_the_folders(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    answer = ablations("sync", "--study=tiny", "--home=home", cwd=tmp_path)
    assert "10 trials of tiny are in MLflow." in answer.stdout
    ours = {(one.data.tags.get("cell"), one.data.tags.get("seed")): one.data.metrics for one in active(finished[0])}
    theirs = {(one.data.tags.get("cell"), one.data.tags.get("seed")): one.data.metrics for one in active(tmp_path)}
    assert ours == theirs


def test_status_and_plan_tell_what_is_done_and_what_is_not(finished, tmp_path):
    root, _ = finished
    status = ablations("status", "--study=tiny", "--home=home", cwd=root).stdout
    assert "tiny: 10 of 10 trials finished, 0 failed, 0 missing." in status
    [line] = [line for line in ablations("list", "--home=home", cwd=root).stdout.splitlines() if line[:5] == "tiny "]
    assert line.split()[1:5] == ["10", "10", "0", "0"]
    plan = run("--seeds=0-4", "--plan", cwd=root).stdout
    assert "25 different trials; 15 to run." in plan
    assert "●●···" in plan
    assert "core-hours" in plan
    assert "of this machine, " in plan
    assert ".0625" in plan, "five seeds cannot reach p < .05"
    fresh = run("--seeds=0-1", "--plan", cwd=tmp_path)
    assert not (tmp_path / "home").exists()
    assert "10 to run" in fresh.stdout


@pytest.mark.long
def test_a_seed_more_runs_only_its_trials(finished, two_cpus, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home")
    before = len(ledger(tmp_path))
    answer = run("--seeds=0-2", cwd=tmp_path)
    assert "5 trials were run now" in answer.stdout
    added = {trial for _, trial in ledger(tmp_path)[before:]}
    assert len(added) == 5
    assert all(trial.endswith("/2") for trial in added)


def test_trials_are_shared_between_studies(finished, tmp_path):
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home")
    answer = run("--seeds=0-1", "--study=other", cwd=tmp_path)
    assert "0 trials were run now" in answer.stdout
    assert (tmp_path / "home/studies/other/table.csv").read_bytes() == files(finished[0])["table.csv"]


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_each_cell_is_tuned_alike_and_both_results_are_shown(finished, two_cpus, tmp_path):
    """Its fixed cells are there already; the searches take other seeds, and another N changes the retuned study."""
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    flags = ["--factor=switches.ot", "--controls=none", "--seeds=0-1", "--study=fair", "--retune-seeds=5"]
    space = ["--retune-space=none", "--retune-space=acquisition.candidate_batches=2,3"]

    def fair(*more):
        return ablations("run", *STUDY_FLAGS, *flags, *space, *more, cwd=tmp_path)

    planned = fair("--retune=2", "--plan").stdout
    assert "2 cells is searched over 2 trials on seeds 5" in planned
    answer = fair("--retune=2")
    both = (tmp_path / "home/studies/fair-retuned/both.md").read_text()
    assert "found" in answer.stdout
    assert answer.stdout.count("verdict") == 1
    assert len([line for line in both.splitlines() if line.startswith("| rambo |")]) == 2
    searched = [folder.name for folder in (tmp_path / "home/searches").iterdir() if folder.is_dir()]
    assert sorted(searched) == ["fair.OT-off", "fair.OT-on"]
    assert fair("--retune=2").stdout.count("0 trials were run now") == 1
    verified = ablations("verify", "--study=fair-retuned", "--home=home", cwd=tmp_path)
    assert "agree with the trial folders" in verified.stdout
    assert "given the settings of one search each" in both
    once = json.loads((tmp_path / "home/studies/fair-retuned/plan.json").read_text())["trials"]
    assert "then again on seeds 6" in fair("--retune=2", "--retune-searches=2", "--plan").stdout
    fair("--retune=2", "--retune-searches=2")
    assert (tmp_path / "home/searches/fair.OT-on.search-2/best.json").exists()
    twice = json.loads((tmp_path / "home/studies/fair-retuned/plan.json").read_text())["trials"]
    assert len(twice) == 2 * len(once)
    assert [one for one in twice if "search=2" not in one["cell"]] == once
    both = (tmp_path / "home/studies/fair-retuned/both.md").read_text()
    assert "given the settings of 2 searches each" in both
    assert "retuned, with luck in tuning" in both
    assert (tmp_path / "home/studies/fair-retuned/luck.csv").exists()
    verified = ablations("verify", "--study=fair-retuned", "--home=home", cwd=tmp_path)
    assert "agree with the trial folders" in verified.stdout


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--retune=2", "--retune-seeds=0"], "--retune-seeds must be other seeds than those that are compared, got 0"),
        (["--retune-seeds=9"], "--retune must say how many trials"),
        (["--factor=switches.otter"], "A field must be one of"),
        (["--factor=acquisition.budget=40,lots"], "acquisition.budget must be int, got 'lots'"),
        (["--seeds="], "Seeds must be whole numbers and ranges"),
        (["--controls=best"], "--controls must be among random, margin, filtered_random"),
        (["--study=../up"], "--study must be a name of letters"),
        (["--recipe=table9"], "--recipe must be one of table1"),
        (["--strategy=rambo,margin"], "use --factor strategy="),
        (["--margin=0"], "--margin must be positive"),
        (["--margin=150"], "--margin must be positive and below 100"),
        (["--cpus-per-trial=64"], "A trial must fit into a node of the cluster"),
        (["--gpus-per-trial=.5"], "--gpus-per-trial 0.5"),
        (
            ["--factor=acquisition.batch_size=20,15"],
            "acquisition.batch_size (b) must divide acquisition.budget (B = 40)",
        ),
        (["--home=/proc/none"], "--home must be a folder that can be written"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(tmp_path, flags, sentence):
    answer = ablations("run", *STUDY_FLAGS, "--seeds=0", *flags, cwd=tmp_path, check=False)
    assert answer.returncode == 2
    lines = sentences(answer.stderr)
    assert len(lines) == 1, answer.stderr
    assert lines[0].startswith("ablations: ")
    assert sentence in lines[0]
    assert not list(tmp_path.rglob("*.parquet"))


def test_another_study_under_the_same_name_is_refused(finished):
    answer = run("--seeds=0-1", "--acquisition.budget=60", cwd=finished[0], check=False)
    assert answer.returncode == 2
    assert "--study tiny must keep its 10 trials" in answer.stderr


def test_a_server_that_refuses_stops_nothing_and_loses_nothing(finished, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(finished[0] / "home", tmp_path / "home", ignore=shutil.ignore_patterns("ml*"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    answer = run("--seeds=0-1", cwd=tmp_path)
    assert "MLflow at http://127.0.0.1:9 did not take 10 trials" in answer.stdout
    assert "ablations ui" not in answer.stdout, "nothing is there"
    assert files(tmp_path) == files(finished[0])
    refused = ablations("sync", "--study=tiny", "--home=home", cwd=tmp_path, check=False)
    assert refused.returncode == 2
    assert len(sentences(refused.stderr)) == 2, "what happens, then one sentence"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    ablations("sync", "--study=tiny", "--home=home", cwd=tmp_path)
    assert len(active(tmp_path)) == 16, "ten trials, five cells and the study"


STAGES = {"collection": "collecting ", "trials": "running ", "writing": "writing "}
"""What the command says when it enters a stage."""


def kill_in(stage: str, root: Path, rng: random.Random) -> str:
    """Run the study and kill -9 its driver a random moment after it entered `stage`; what was caught."""
    process = subprocess.Popen(
        command("run", *STUDY_FLAGS, *STUDY, *SLOW, "--seeds=0-1"), cwd=root, stderr=subprocess.PIPE, text=True
    )
    caught = "none"
    assert process.stderr is not None
    for line in process.stderr:
        entered = next((name for name, text in STAGES.items() if line.startswith(text)), None)
        caught = entered or caught
        if entered == stage:
            time.sleep(rng.uniform(0, 2.0 if stage != "trials" else 8.0))
            break
    descendants = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(descendants, timeout=60)  # Ray notices within seconds that its driver is gone
    return caught


SLOW = ["--training.learning_rate=1e-6", "--training.max_epochs=60", "--offline.num_pairs=40"]
"""f never learns, so that there is time to be killed in."""


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_every_stage_a_study_ends_as_if_nothing_had_happened(tmp_path):
    """KILLS=10 in the environment is the long form of this test; it prints the stages it hit."""
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    in_a_process("run", *STUDY_FLAGS, *STUDY, *SLOW, "--seeds=0-1", cwd=undisturbed)
    rng = random.Random(0)
    count = int(os.environ.get("KILLS", "3"))
    order = sorted((list(STAGES) * count)[:count], key=list(STAGES).index)
    hit = [kill_in(stage, killed, rng) for stage in order]
    print(f"killed in: {', '.join(hit)}")
    in_a_process("run", *STUDY_FLAGS, *STUDY, *SLOW, "--seeds=0-1", cwd=killed)
    assert hit == order
    assert files(killed) == files(undisturbed)
    assert "RUNNING" not in {one.info.status for one in shown(killed)}
    assert len(active(killed)) == 16, "ten trials, five cells and the study"
    done: set[str] = set()
    for event, trial in ledger(killed):
        assert not (event == "start" and trial in done), f"{trial} was run again after it had finished"
        done |= {trial} if event == "done" else set()
    assert len(done) == 10
