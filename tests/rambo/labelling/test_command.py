"""From a folder and a CSV to labels asked for, a classifier and its predictions: the commands as people give them."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rambo.__main__ import main
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.labelling.command import read
from rambo.labelling.kept import read_kept


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def select(pool, home, *more, labels=None, budget=20):
    given = [str(path) for path in labels or [pool.labels]]
    words = ["select", "--pool", str(pool.folder), "--labels", *given, f"--budget={budget}", "--name=own"]
    main([*words, f"--home={home}", "--quiet", *more])


def test_the_way_from_a_pool_to_predictions(shared_pool, tmp_path, capsys):
    pool, home = shared_pool, tmp_path / "home"
    select(pool, home)
    *_, asked_path, folder = capsys.readouterr().out.splitlines()
    asked = rows_of(Path(asked_path))
    known = {row.split(";")[0] for row in pool.labels.read_text().splitlines()[1:]}
    files = [row["file"] for row in asked]
    assert len(set(files)) == 20
    assert set(files) <= set(pool.truth) - known
    assert [row["rank"] for row in asked] == [str(rank) for rank in range(1, 21)]
    assert {row["label"] for row in asked} == {""}
    margins = [float(row["margin"]) for row in asked]
    assert margins == sorted(margins), "the default asks for small margins first"
    assert sorted(path.name for path in Path(folder).iterdir()) == [
        "config.json", "environment.json", "labels.csv", "metrics.jsonl", "result.json", "to_label.csv", "to_label.pdf",
        "to_label.png",
    ]  # fmt: skip

    filled = pool.label(Path(asked_path), tmp_path / "filled.csv")
    select(pool, home, labels=[pool.labels, filled])
    folder = capsys.readouterr().out.splitlines()[-1]
    assert folder.endswith("/own/2")
    again = [row["file"] for row in rows_of(Path(folder) / "to_label.csv")]
    assert set(again).isdisjoint({*files, *known})
    first, second = (json.loads((home / f"selections/own/{number}/result.json").read_text()) for number in (1, 2))
    assert (first["num_labelled"], second["num_labelled"]) == (100, 120)
    assert first["num_validation"] == second["num_validation"] == 20

    words = ["train", "--pool", str(pool.folder), "--labels", str(pool.labels), str(filled), "--name=own"]
    main([*words, f"--home={home}", "--quiet"])
    made = Path(capsys.readouterr().out.splitlines()[-1])
    target = tmp_path / "predictions.csv"
    main(["predict", f"--classifier={made}", f"--pool={pool.folder}", f"--to={target}", "--quiet"])
    predicted = {row["file"]: row["label"] for row in rows_of(target)}
    assert set(predicted) == set(pool.truth)
    unseen = set(pool.truth) - known - set(files)
    right = np.mean([predicted[file] == pool.truth[file] for file in unseen])
    assert right > 0.7, "chance is .1"
    about = json.loads((made / "classifier.json").read_text())
    assert about["num_labels"] == 120
    assert abs(about["val_accuracy"] - right) < 0.35


@pytest.fixture(scope="module")
def made(shared_pool, tmp_path_factory):
    home = tmp_path_factory.mktemp("trained")
    words = ["train", "--pool", str(shared_pool.folder), "--labels", str(shared_pool.labels), "--name=own", "--quiet"]
    main([*words, f"--home={home}"])
    return home / "classifiers/own"


def test_the_graph_runs_without_this_project_and_gives_what_predict_gives(shared_pool, made, tmp_path):
    pool, target = shared_pool, tmp_path / "predictions.csv"
    main(["predict", f"--classifier={made}", f"--pool={pool.folder}", f"--to={target}", "--quiet"])
    files = [row["file"] for row in rows_of(target)][:9]
    np.save(tmp_path / "x.npy", np.stack([np.asarray(Image.open(pool.folder / file))[None] for file in files]))
    program = (
        "import sys, numpy, torch\n"
        f"found = torch.export.load({str(made / 'classifier.pt2')!r}).module()(torch.from_numpy(numpy.load('x.npy')))\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('rambo', 'cluster')]\n"
        "print(*found.max(1).values.tolist())"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    told = [float(row["probability"]) for row in rows_of(target)][:9]
    assert np.allclose([float(word) for word in answer.stdout.split()], told, atol=1e-4)


def test_a_second_call_repeats_nothing_and_one_with_other_settings_is_refused(shared_pool, tmp_path, capsys):
    pool, home = shared_pool, tmp_path / "home"
    select(pool, home)
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    told = capsys.readouterr().out
    select(pool, home)
    assert capsys.readouterr().out == told
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()} == before
    with pytest.raises(InvalidInput, match=r"must be asked as before until there are more labels, got other settings"):
        select(pool, home, budget=10)


def test_a_round_that_was_killed_is_made_again_with_the_same_picks(shared_pool, tmp_path):
    pool, home = shared_pool, tmp_path / "home"
    select(pool, home)
    first = (home / "selections/own/1/to_label.csv").read_bytes()
    (home / "selections/own/selection.json").unlink()
    (home / "selections/own/1/result.json").unlink()
    select(pool, home)
    assert (home / "selections/own/1/to_label.csv").read_bytes() == first


def test_no_label_but_those_given_is_within_reach(shared_pool, tmp_path):
    """The truth of all others is turned round, in names of folders as well; the picks are the same."""
    pool = shared_pool
    other = tmp_path / "pool"
    shutil.copytree(pool.folder, other)
    select(pool, tmp_path / "home")
    select(type(pool)(other, pool.labels, {}), tmp_path / "other")
    kept = [read_kept(Home(tmp_path / name), "own") for name in ("home", "other")]
    assert kept[0].rounds[0].asked == kept[1].rounds[0].asked
    from rambo.labelling.own_pool import Sources, read_pool

    dataset = read_pool(Sources(str(pool.folder), (pool.labels,)))
    named = {row.split(";")[0] for row in pool.labels.read_text().splitlines()[1:]}
    hidden = [file not in named for file in dataset.files]
    assert (dataset.labels[hidden] == -1).all()
    assert sum(hidden) == 140


def test_a_plan_trains_nothing_and_writes_nothing(shared_pool, tmp_path, capsys):
    select(shared_pool, tmp_path / "home", "--plan", "--compare=random,margin")
    told = capsys.readouterr().out.replace("\n", " ")
    assert "80 labels to learn from, 20 to judge by, 20 of 140 images to ask for" in told
    assert not (tmp_path / "home").exists()


def test_strategies_are_compared_on_the_labels_at_hand(shared_pool, tmp_path, capsys):
    select(shared_pool, tmp_path / "home", "--compare=random,margin", "--training.max_epochs=3")
    told = capsys.readouterr().out.replace("\n", " ")
    assert "judged on all 100 in 5 folds" in told
    assert "cannot be told" in told or "better than" in told
    assert "Nothing is asked for yet" in told
    assert not (tmp_path / "home/selections").exists()


def test_a_pool_of_arrays_says_which_rows(tmp_path, capsys):
    generator = np.random.default_rng(0)
    y = np.full(60, -1)
    y[:30] = np.arange(30) % 3
    np.savez(tmp_path / "pool.npz", x=generator.integers(0, 256, (60, 8, 8), dtype=np.uint8), y=y)
    main(["select", f"--pool=npz:{tmp_path}/pool.npz", "--budget=5", f"--home={tmp_path}/home", "--quiet"])
    asked = rows_of(Path(capsys.readouterr().out.splitlines()[-2]))
    assert all(30 <= int(row["file"]) < 60 for row in asked)


def test_a_pool_of_embeddings_goes_the_whole_way_by_logistic_regression(tmp_path, capsys):
    generator = np.random.default_rng(0)
    truth = np.arange(90) % 3
    x = (generator.standard_normal((90, 5)) + 3 * np.eye(5)[truth]).astype(np.float32)
    np.savez(tmp_path / "pool.npz", x=x, y=np.where(np.arange(90) < 45, truth, -1))
    pool, home = f"--pool=npz:{tmp_path}/pool.npz", f"--home={tmp_path}/home"
    main(["select", pool, "--budget=5", home, "--quiet"])
    assert not list((tmp_path / "home").rglob("*.png")), "there is no picture of a vector"
    main(["train", pool, home, "--quiet"])
    *_, made = capsys.readouterr().out.splitlines()
    main(["predict", f"--classifier={made}", pool, f"--to={tmp_path}/out.csv", "--quiet"])
    predicted = np.array([int(row["label"]) for row in rows_of(tmp_path / "out.csv")])
    assert (predicted == truth)[45:].mean() > 0.8
    with pytest.raises(InvalidInput, match=r"--pool must be npz:PATH with x of shape \(n, 5\)"):
        main(["predict", f"--classifier={made}", f"--pool={tmp_path}", "--to=x.csv", "--quiet"])


@pytest.mark.parametrize("strategy", ["rambo", "badge", "coreset"])
def test_other_strategies_answer_too(shared_pool, tmp_path, capsys, strategy):
    quick = ["--offline.num_pairs=8", "--pretraining.num_pairs=4", "--utility.num_audited=0", "--training.max_epochs=3"]
    small = ["--utility_model.num_outer_steps=1", "--utility_model.num_inner_steps=1"]
    select(shared_pool, tmp_path / "home", f"--strategy={strategy}", *quick, *small, budget=40)
    asked = rows_of(Path(capsys.readouterr().out.splitlines()[-2]))
    assert len({row["file"] for row in asked}) == 40
    assert (tmp_path / "home/selections/own/1/utility_model.safetensors").exists() == (strategy == "rambo")
    assert {row["score"] != "" for row in asked} == {strategy == "rambo"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda pool: {"budget": 141}, r"--budget must lie in 1\.\.140, the images without a label, got 141"),
        (
            lambda pool: {"more": ["--validation=0"]},
            r"--validation must be a share between 0 and 1 or a number of images",
        ),
        (lambda pool: {"more": ["--compare=random,guess"]}, r"--compare must name strategies among .*, got guess"),
        (lambda pool: {"labels": [Path("none.csv")]}, r"--labels must be a CSV file that can be read, got none\.csv"),
        (lambda pool: {"more": ["--strategy=oracle"]}, r"must choose without the labels that it asks for, got oracle"),
        (lambda pool: {"more": ["--data.image_size=-4"]}, r"--data.image_size must be a whole number from 0 to 4096"),
        (lambda pool: {"more": ["--data.num_test=5"]}, r"--data.num_test must be left to the pool, its labels"),
        (lambda pool: {"more": ["--name=../x"]}, r"--name must be letters, digits, .*, got '../x'"),
        (lambda pool: {"more": [f"--home={pool.folder}/runs"]}, r"--home must lie outside the pool"),
    ],
)
def test_bad_flags_are_one_sentence_before_anything_is_trained(shared_pool, tmp_path, change, sentence):
    given = change(shared_pool)
    with pytest.raises(InvalidInput, match=sentence):
        select(shared_pool, tmp_path / "home", *given.pop("more", ()), **given)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], r"must name at least 2 classes, got 0 among 0 labels"),
        (
            [("nobody.png", "digit 1")],
            r"must name files of .*, got nobody\.png, which is not there; .* labels of this pool",
        ),
        (
            [("lab A/bild 001.PNG", "digit 1"), ("lab A/bild 001.PNG", "digit 2")],
            r"got several for lab A/bild 001\.PNG",
        ),
        ([("lab A/bild 001.PNG", "odd one")], r"Each class must have at least 2 labels, got 1 of odd one"),
    ],
)
def test_bad_labels_are_one_sentence(shared_pool, tmp_path, rows, sentence):
    lines = shared_pool.labels.read_text().splitlines()[1:] if rows and rows[0][1] == "odd one" else []
    path = tmp_path / "bad.csv"
    lines = [line for line in lines if not line.startswith("lab A/bild 001")]
    path.write_text("\n".join(["file;label", *lines, *(";".join(row) for row in rows)]) + "\n")
    with pytest.raises(InvalidInput, match=sentence):
        select(shared_pool, tmp_path / "home", labels=[path])


def test_a_pool_that_is_labelled_throughout_and_labels_of_another_are_refused(shared_pool, tmp_path):
    every = tmp_path / "every.csv"
    every.write_text("\n".join(["file,label", *(f"{file},{label}" for file, label in shared_pool.truth.items())]))
    with pytest.raises(InvalidInput, match=r"must have images without a label, got 240 that all have one; train"):
        select(shared_pool, tmp_path / "home", labels=[every])
    select(shared_pool, tmp_path / "home")
    other = tmp_path / "pool"
    shutil.copytree(shared_pool.folder, other)
    Image.new("L", (8, 8), 7).save(other / "more.png")
    with pytest.raises(
        InvalidInput, match=r"--name own must go on with the images that it began with, got .* that are others"
    ):
        select(type(shared_pool)(other, shared_pool.labels, {}), tmp_path / "home")


def test_labels_given_twice_are_all_of_them():
    words = ["select", "--pool=images", "--labels", "a.csv", "b.csv", "--labels", "c.csv", "--budget=3"]
    assert read(words).labels == [Path("a.csv"), Path("b.csv"), Path("c.csv")]


def test_a_classifier_is_trained_of_a_pool_that_is_labelled_throughout(shared_pool, tmp_path, capsys):
    every = tmp_path / "every.csv"
    every.write_text("\n".join(["file,label", *(f"{file},{label}" for file, label in shared_pool.truth.items())]))
    words = ["train", "--pool", str(shared_pool.folder), "--labels", str(every), f"--home={tmp_path}/home", "--quiet"]
    main([*words, "--training.max_epochs=2"])
    about = json.loads((Path(capsys.readouterr().out.splitlines()[-1]) / "classifier.json").read_text())
    assert (about["num_labels"], about["num_validation"]) == (240, 48)


def test_what_somebody_has_filled_in_is_never_replaced(shared_pool, tmp_path):
    home = tmp_path / "home"
    select(shared_pool, home)
    asked = home / "selections/own/1/to_label.csv"
    filled = shared_pool.label(asked, tmp_path / "filled.csv").read_bytes()
    asked.write_bytes(filled)
    (home / "selections/own/1/result.json").unlink()
    select(shared_pool, home)
    assert asked.read_bytes() == filled
    (home / "selections/own/selection.json").unlink()
    with pytest.raises(InvalidInput, match=r"must hold no labels that a new round would replace, got some in to_label"):
        select(shared_pool, home)
    assert asked.read_bytes() == filled


@pytest.mark.parametrize("name", ["to_label.csv", "to_label.png"])
def test_a_file_that_is_gone_from_a_round_is_made_again(shared_pool, tmp_path, name):
    home = tmp_path / "home"
    select(shared_pool, home)
    gone = home / "selections/own/1" / name
    before = gone.read_bytes()
    gone.unlink()
    select(shared_pool, home)
    assert gone.read_bytes() == before


def test_a_class_that_a_later_round_finds_may_have_a_single_label(shared_pool, tmp_path, capsys):
    home = tmp_path / "home"
    select(shared_pool, home)
    asked = rows_of(home / "selections/own/1/to_label.csv")
    labels = [(row["file"], shared_pool.truth[row["file"]]) for row in asked]
    labels[0] = (labels[0][0], "a letter")
    with (tmp_path / "more.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *labels])
    select(shared_pool, home, labels=[shared_pool.labels, tmp_path / "more.csv"])
    assert capsys.readouterr().out.splitlines()[-1].endswith("/own/2")
    with pytest.raises(InvalidInput, match=r"Each class must have at least 2 labels, got 1 of a letter"):
        select(shared_pool, tmp_path / "other", labels=[shared_pool.labels, tmp_path / "more.csv"])


def test_one_command_at_a_time_works_on_a_selection(shared_pool, tmp_path):
    home = tmp_path / "home"
    with (
        Home(home).lock("selections/own/lock", "held"),
        pytest.raises(InvalidInput, match=r"on which no other command works, got own; wait for it to end"),
    ):
        select(shared_pool, home)


def test_validation_images_need_their_labels_in_every_round(shared_pool, tmp_path):
    home = tmp_path / "home"
    select(shared_pool, home)
    lines = shared_pool.labels.read_text().splitlines()
    known = read_kept(Home(home), "own").validation
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("\n".join(line for line in lines if line.split(";")[0] != known[3]) + "\n")
    with pytest.raises(
        InvalidInput, match=rf"must name all 20 validation .*, got none of {known[3]}; give the earlier"
    ):
        select(shared_pool, home, labels=[fewer])


def test_another_name_says_that_validation_is_drawn_anew(shared_pool, tmp_path, capsys):
    home = tmp_path / "home"
    select(shared_pool, home)
    words = ["train", "--pool", str(shared_pool.folder), "--labels", str(shared_pool.labels), "--name=flowers"]
    main([*words, f"--home={home}", "--quiet", "--training.max_epochs=2"])
    assert "own has validation images of this pool already; flowers draws its own" in capsys.readouterr().out.replace(
        "\n", " "
    )


def test_a_preset_s_scenarios_leave_a_pool_of_one_s_own_alone(shared_pool, tmp_path):
    (tmp_path / "noise.json").write_text('{"data.label_noise": 0.5, "acquisition.rounds": 2, "data.stratified": true}')
    select(
        shared_pool, tmp_path / "home", f"--config={tmp_path}/noise.json", "--strategy=random", "--preset=quickstart"
    )
    kept = json.loads((tmp_path / "home/selections/own/1/config.json").read_text())
    assert (kept["data"]["label_noise"], kept["acquisition"]["rounds"]) == (0.0, 1)
    assert len(read_kept(Home(tmp_path / "home"), "own").rounds[0].asked) == 20


def test_predictions_replace_predictions_alone(shared_pool, made, tmp_path):
    target = tmp_path / "mine.csv"
    target.write_text("file,label\na,b\n")
    words = ["predict", f"--classifier={made}", f"--pool={shared_pool.folder}", "--quiet"]
    for wrong in (target, tmp_path, tmp_path / "none/out.csv"):
        with pytest.raises(
            InvalidInput, match=r"--to must name a new file in a folder that exists, or earlier predictions"
        ):
            main([*words, f"--to={wrong}"])
    assert target.read_text() == "file,label\na,b\n"
    for _ in range(2):
        main([*words, f"--to={tmp_path}/out.csv"])


def test_broken_images_are_listed_together(shared_pool, tmp_path):
    other = tmp_path / "pool"
    shutil.copytree(shared_pool.folder, other)
    for number in range(12):
        (other / f"broken {number:02}.png").write_bytes(b"no picture")
    with pytest.raises(InvalidInput) as caught:
        select(type(shared_pool)(other, shared_pool.labels, {}), tmp_path / "home")
    said = str(caught.value)
    assert said.startswith("12 of 252 images cannot be read.")
    assert said.count("must be a readable image") == 10
    assert said.endswith("And 2 more.")


def test_a_study_refuses_hidden_labels_and_names_select(shared_pool, tmp_path):
    words = ["--preset=quickstart", f"--data.source=images:{shared_pool.folder}", f"--data.labels={shared_pool.labels}"]
    with pytest.raises(
        InvalidInput, match=r"Studies must know every label, .*, got 140 images of pool without one; .*select"
    ):
        main([*words, f"--home={tmp_path}/home", "--quiet"])


def test_a_study_reads_a_folder_whose_labels_a_file_has(shared_pool, tmp_path, capsys):
    every = tmp_path / "every.csv"
    every.write_text("\n".join(["file,label", *(f"{file},{label}" for file, label in shared_pool.truth.items())]))
    words = ["--preset=quickstart", f"--data.source=images:{shared_pool.folder}", f"--data.labels={every}"]
    sizes = ["--data.num_seed_labels=60", "--data.num_validation=40", "--data.num_test=40", "--acquisition.budget=20"]
    main([*words, *sizes, "--strategy=random", "--training.max_epochs=2", f"--home={tmp_path}/home", "--quiet"])
    assert (
        json.loads((Path(capsys.readouterr().out.splitlines()[-1]) / "result.json").read_text())["num_labelled"] == 80
    )


def test_a_folder_that_holds_no_classifier_and_images_of_another_size_are_refused(shared_pool, made, tmp_path):
    with pytest.raises(InvalidInput, match=r"--classifier must name a folder that python -m rambo train has written"):
        main(["predict", f"--classifier={tmp_path}", f"--pool={shared_pool.folder}", "--to=x.csv", "--quiet"])
    (tmp_path / "other").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "other/large.png")
    with pytest.raises(
        InvalidInput, match=r"large\.png must have 8x8 pixels, as the classifier was trained on, got 9x9"
    ):
        main(["predict", f"--classifier={made}", f"--pool={tmp_path}/other", "--to=x.csv", "--quiet"])
