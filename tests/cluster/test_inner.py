"""Commands that a job may run: read, refused, and made independent of this folder."""

import json
from pathlib import Path

import pytest
from made_files import write

from cluster.inner import read_inner, shipped_name, try_plan
from rambo.errors import InvalidInput
from rambo.own import Own

RUN = ["python", "-m", "ablations", "run"]


def test_what_a_command_names_is_made_absolute(folder):
    config = write(folder / "settings.json", json.dumps({"data.source": "npz:own.npz", "seed": 3}).encode())
    inner = read_inner([*RUN, "--config", "settings.json", "--home=kept", "--seeds", "0-3"])
    assert inner.words[:4] == ("python", "-m", "ablations", "run")
    assert inner.words[4:] == (
        "--config",
        shipped_name(config),
        f"--home={folder}/kept",
        "--seeds",
        "0-3",
        f"--data.source=npz:{folder}/own.npz",
    )
    assert (inner.study, inner.home.root, inner.config) == ("settings", f"{folder}/kept", Path("settings.json"))
    assert set(inner.stays) == {folder / "kept", folder / "own.npz"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--home", "s3://bucket/runs"], "s3://bucket/runs"),
        (["--data.source=images:photos"], "--data.source=images:{}/photos"),
        (["--data.source", "mnist"], "mnist"),
        (["--utility_model.weights", "resnet.pt"], "{}/resnet.pt"),
        (["--utility_model.weights=imagenet"], "--utility_model.weights=imagenet"),
        (["--factor", "data.source=npz:a.npz,digits"], "data.source=npz:{0}/a.npz,digits"),
        (["--factor=switches.ot"], "--factor=switches.ot"),
        (["--storage=sqlite:///memory.db"], "--storage=sqlite+pysqlite:///{}/memory.db"),
        (["--storage=postgresql://ann@host/optuna"], "--storage=postgresql://ann@host/optuna"),
        (["--home", "kept"], "{}/kept"),
        (["--data-dir=sets"], "--data-dir={}/sets"),
    ],
)
def test_each_way_of_naming_a_path(folder, flags, expected):
    home = [] if "--home" in flags else ["--home=kept"]
    assert expected.format(folder) in read_inner([*RUN, "--preset=quickstart", *flags, *home]).words


SWEEP = """\
name = "spring"
[[study]]
name = "digits"
preset = "quickstart"
seeds = "0"
[study.grid]
strategy = ["random", "mine:pick"]
"classifier.name" = ["smallnet", "lab.nets:small"]
"data.source" = ["npz:own.npz", "digits"]
"""


def test_a_sweep_s_file_travels_and_its_paths_stay_where_they_are(folder):
    file = write(folder / "sweeps" / "spring.toml", SWEEP.encode())
    command = ["python", "-m", "ablations", "sweep", "apply", "sweeps/spring.toml", "--home=kept", "--rerun-outdated"]
    inner = read_inner(command)
    assert inner.words[3:] == (
        "sweep",
        "apply",
        shipped_name(file),
        f"--paths-from={folder}/sweeps",
        f"--home={folder}/kept",
        "--rerun-outdated",
    )
    assert inner.config == Path("sweeps/spring.toml")
    assert inner.own == (Own("classifier.name", "lab.nets:small"), Own("strategy", "mine:pick"))
    assert set(inner.stays) == {folder / "kept", folder / "sweeps" / "own.npz"}
    file.write_text(SWEEP.replace('"0"', '"0-1"'))
    edited = read_inner(command)
    assert edited.study != inner.study, "a job that works does not keep an edit from being applied"
    assert {inner.study[:7], edited.study[:7]} == {"spring-"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--home=kept"], "must begin with its file"),
        (["none.toml", "--home=kept"], "A sweep's file must name a file that can be read, got none.toml"),
        (["bad.toml", "--home=kept"], "A sweep's file must be readable TOML, got bad.toml"),
        (["bad.toml"], "must say where its results stay, got no --home"),
    ],
)
def test_a_sweep_that_cannot_travel_is_refused(folder, words, sentence):
    write(folder / "bad.toml", b"name = ")
    with pytest.raises(InvalidInput, match=sentence):
        read_inner(["python", "-m", "ablations", "sweep", "apply", *words])


@pytest.mark.long
def test_a_sweep_is_tried_by_its_plan(folder):
    write(folder / "spring.toml", SWEEP.replace('"mine:pick"', '"margin"').replace('"npz:own.npz", ', "").encode())
    command = ["python", "-m", "ablations", "sweep", "apply", "spring.toml", "--home=kept", "--rerun-outdated"]
    try_plan(command)
    write(folder / "spring.toml", SWEEP.replace("seeds", "seds").encode())
    with pytest.raises(InvalidInput, match=r"line 5: study 1 must have keys among .*did you mean seeds\?$"):
        try_plan(command)


def test_an_installed_script_is_taken_for_its_module(folder):
    flags = ["run", "--preset=quickstart", "--home=kept"]
    for script in ("rambo-ablations", "/opt/lab/bin/rambo-ablations"):
        assert read_inner([script, *flags]).words == read_inner(["python", "-m", "ablations", *flags]).words
    with pytest.raises(InvalidInput, match="must be one of python -m ablations run"):
        read_inner(["rambo-ablations", "status"])


def test_strategies_and_classifiers_of_the_user_s_own_are_found_wherever_a_command_names_them(folder):
    write(folder / "settings.json", json.dumps({"strategy": "lab.f:pick", "classifier.name": "lab.f:net"}).encode())
    inner = read_inner(
        [
            *(
                *RUN,
                "--home=kept",
                "--config=settings.json",
                "--strategy",
                "rambo,a:pick",
                "--factor=strategy=margin,b:pick",
            ),
            *(
                "--space",
                "strategy=c:pick,random",
                "--retune-space=strategy=b:pick",
                "--factor=data.source=npz:d,digits",
            ),
            *("--classifier.name", "d:net", "--factor=classifier.name=lenet5,e:net"),
        ]
    )
    strategies, classifiers = ("a:pick", "b:pick", "c:pick", "lab.f:pick"), ("d:net", "e:net", "lab.f:net")
    assert [one.name for one in inner.own if one.field == "strategy"] == list(strategies)
    assert [one.name for one in inner.own if one.field == "classifier.name"] == list(classifiers)
    assert read_inner([*RUN, "--home=kept", "--preset=quickstart", "--strategy=margin"]).own == ()


def test_a_command_without_a_home_is_refused_since_this_machines_folder_is_not_the_clusters():
    with pytest.raises(InvalidInput, match="must say where its results stay, got no --home; give a path that every"):
        read_inner([*RUN, "--preset=quickstart"])


def test_where_downloads_are_kept_here_is_not_sent_to_the_cluster(folder):
    words = read_inner([*RUN, "--preset=quickstart", "--data.source", "mnist", "--home=s3://bucket/home"]).words
    assert not [word for word in words if str(folder) in word]


def test_a_study_is_called_by_its_name_else_by_what_it_runs(folder):
    def study(*words: str) -> str:
        inner = read_inner(["python3", "-m", *words, "--home=kept"])
        assert inner.words[:3] == ("python", "-m", words[0])
        return inner.study

    assert study("ablations", "run", "--recipe", "table4", "--study=mine") == "mine"
    assert study("ablations", "run", "--recipe", "table4") == "table4"
    assert study("cluster", "collect", "--preset=paper_mnist") == "paper_mnist"
    assert study("tune", "run", "--preset=quickstart", "--num-trials=9") == "quickstart"
    assert study("tune", "run", "--preset=quickstart", "--study", "wide") == "wide"
    assert study("rambo") == "rambo"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["ls"],
        ["python", "train.py"],
        ["python", "-m", "pip", "run"],
        ["python", "-m", "ablations", "ui"],
        ["python", "-m", "cluster", "submit"],
        ["sh", "-m", "rambo"],
    ],
)
def test_other_commands_are_refused(words):
    with pytest.raises(
        InvalidInput,
        match="must be one of python -m ablations run, python -m ablations sweep apply, python -m tune run",
    ):
        read_inner(words)


def test_a_plan_is_no_job():
    with pytest.raises(InvalidInput, match="got --plan; run that here, without submit"):
        read_inner([*RUN, "--preset=quickstart", "--plan"])


@pytest.mark.parametrize(
    "flag",
    [
        "--storage=postgresql://ann:hunter2@db/x",
        "--storage=postgresql+psycopg2://ann:a/hunter2/9@db/x",
        "--storage=postgresql://ann:12/hunter2@db:5432/x",
        "--storage=postgresql://ann@corp:hunter2?@db/x",
        "--home=s3://key:hunter2@bucket/runs",
        "--home=s3://key:a/hunter2@bucket/runs",
    ],
)
def test_a_password_in_a_command_is_refused_and_not_repeated(flag):
    with pytest.raises(
        InvalidInput, match=r"must carry no password.*set it in the environment of the cluster"
    ) as caught:
        read_inner([*RUN, "--preset=quickstart", flag])
    assert "hunter2" not in str(caught.value)
    assert ":***@" in str(caught.value)


@pytest.mark.parametrize("room", [["rambo"], ["tune", "run"], ["cluster", "collect"]])
def test_the_plan_of_a_mistaken_command_says_its_own_sentence(folder, room):
    with pytest.raises(InvalidInput, match=r"^--preset must be one of quickstart, .*; got fast\.$"):
        try_plan(["python", "-m", *room, "--preset=fast"])
