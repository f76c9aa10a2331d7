"""What travels with a job, and what stays where it is."""

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from made_files import write

import rambo.data
from cluster.shipping import LIMIT_BYTES, pack
from rambo.errors import InvalidInput
from rambo.own import Own


@pytest.fixture
def checkout(folder):
    """A working folder with code and with all that must not travel."""
    for name in ("rambo/__init__.py", "rambo/x.py", "notes.txt", "rambo/__pycache__/x.pyc", ".venv/lib.py", ".env"):
        write(folder / name)
    for name in ("data/images.npz", "runs/store/a", "mine/store/a", "mine/trials/b", "other/mlflow.db", "a.egg-info/b"):
        write(folder / name)
    return folder


def test_code_travels_and_data_results_caches_and_hidden_files_stay(checkout):
    config = write(checkout / "kept/settings.json")
    named = {"submitted/settings.json": config}
    shipment = pack(checkout, without=[checkout / "kept", checkout / "notes.txt"], extra=named)
    assert set(shipment.files) == {"rambo/__init__.py", "rambo/x.py", "submitted/settings.json"}


def test_what_git_ignores_stays(checkout):
    write(checkout / ".gitignore", b"*.txt\n")
    subprocess.run(["git", "init", "-q"], check=True)
    assert set(pack(checkout).files) == {"rambo/__init__.py", "rambo/x.py"}


def test_a_checkout_in_a_folder_that_another_repository_ignores_still_travels(folder):
    subprocess.run(["git", "init", "-q"], check=True)
    write(folder / ".gitignore", b"work/\n")
    write(folder / "work/rambo/__init__.py")
    assert set(pack(folder / "work").files) == {"rambo/__init__.py"}


def test_the_same_content_is_the_same_archive(checkout):
    first, second = io.BytesIO(), io.BytesIO()
    before = pack(checkout)
    before.write(first)
    os.utime(checkout / "notes.txt", (1, 1))
    after = pack(checkout)
    after.write(second)
    assert first.getvalue() == second.getvalue()
    known = before.digest()
    assert known == after.digest()
    assert set(zipfile.ZipFile(first).namelist()) == {"rambo/__init__.py", "rambo/x.py", "notes.txt"}
    write(checkout / "study.log")
    assert pack(checkout).digest() == known, "what is not the code makes no other job"
    for name in ("rambo/x.py", "tune/new.py", "pyproject.toml", "constraints.txt"):
        write(checkout / name, b"y")
        known, before = pack(checkout).digest(), known
        assert known != before, name


def test_from_a_folder_without_the_code_the_code_that_runs_here_travels(folder):
    write(folder / "private.txt")
    files = set(pack(folder).files)
    assert {"rambo/__main__.py", "cluster/jobs.py", "tune/__main__.py", "ablations/run.py"} <= files
    assert not [name for name in files if not name.startswith(("rambo/", "cluster/", "tune/", "ablations/"))]


def test_a_folder_that_is_too_large_is_one_sentence_that_names_the_largest(checkout):
    for name, size in (("images.npz", LIMIT_BYTES), ("more/a.bin", 2**20), ("more/b.bin", 2**20)):
        write(checkout / name)
        os.truncate(checkout / name, size)
    with pytest.raises(InvalidInput) as caught:
        pack(checkout)
    assert str(caught.value).startswith(
        "The working folder must hold at most 100.0 MiB of code, which is what Ray uploads, got 102.0 MiB in "
        f"{checkout} (largest: images.npz 100.0 MiB, more/ 2.0 MiB, "
    )
    assert str(caught.value).endswith("move data out of it, to where every node can read it, or list it in .gitignore.")
    assert pack(checkout, without=[checkout / "images.npz"]).files


def test_a_folder_called_data_inside_a_room_is_code_and_one_beside_the_rooms_is_not(checkout):
    for name in ("rambo/data/sources.py", "tune/runs/deep/build/x.py", "docs/data/images.npz", "docs/data.md"):
        write(checkout / name)
    expected = {"rambo/__init__.py", "rambo/x.py", "notes.txt", "docs/data.md"}
    assert set(pack(checkout).files) == expected | {"rambo/data/sources.py", "tune/runs/deep/build/x.py"}
    known = pack(checkout).digest()
    write(checkout / "rambo/data/sources.py", b"y")
    assert pack(checkout).digest() != known, "it decides what the job computes"


def test_a_folder_called_data_inside_a_room_travels_from_any_other_folder_as_well(folder):
    write(folder / "data/images.npz")
    write(folder / "rambo/data/mine.py")
    files = pack(folder).files
    inside = {name for name in files if name.startswith("rambo/data/")}
    there = Path(rambo.data.__file__).parent
    assert inside == {f"rambo/data/{path.name}" for path in there.glob("*.py")}
    assert {"rambo/data/__init__.py", "rambo/data/sources.py"} <= inside
    assert not [name for name in files if name.startswith("data/")]
    archive = io.BytesIO()
    pack(folder).write(archive)
    assert zipfile.ZipFile(archive).read("rambo/data/sources.py") == (there / "sources.py").read_bytes()


def test_a_strategy_travels_from_wherever_it_is_imported_here(checkout, modules, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    single = modules.write("pick = 3\n", "outside", folder=elsewhere)
    write(elsewhere / "beside.py")
    shipment = pack(checkout, own=[Own("strategy", "outside:pick")])
    assert set(shipment.files) == {"rambo/__init__.py", "rambo/x.py", "notes.txt", "outside.py"}
    assert shipment.files["outside.py"] == single
    modules.write("pick = 3\n", "lab.mine", folder=elsewhere)
    for name in ("lab/__init__.py", "lab/inner/more.py", "lab/__pycache__/mine.pyc"):
        write(elsewhere / name, b"")
    files = set(pack(checkout, own=[Own("strategy", "lab.mine:pick"), Own("classifier.name", "lab.mine:other")]).files)
    assert {name for name in files if name.startswith("lab/")} == {
        "lab/__init__.py",
        "lab/mine.py",
        "lab/inner/more.py",
    }


def test_a_strategy_in_the_working_folder_is_code_once_a_command_names_it(checkout, modules):
    modules.write("pick = 3\n", folder=checkout)
    others = set(pack(checkout).files)
    named = pack(checkout, own=[Own("strategy", "mine:pick")])
    assert set(named.files) == others
    known, without = named.digest(), pack(checkout).digest()
    assert known != without
    modules.write("pick = 4\n", folder=checkout)
    assert pack(checkout).digest() == without, "a command that does not name it computes the same"
    assert pack(checkout, own=[Own("strategy", "mine:pick")]).digest() != known


def test_from_a_folder_without_the_code_a_strategy_travels_with_the_code(folder, modules):
    modules.write("pick = 3\n", folder=folder)
    write(folder / "private.txt")
    files = set(pack(folder, own=[Own("strategy", "mine:pick")]).files)
    assert {"mine.py", "rambo/__main__.py"} <= files
    assert "private.txt" not in files


def test_a_strategy_that_is_not_there_is_refused_before_anything_is_packed(checkout):
    with pytest.raises(InvalidInput, match="strategy none_such:pick must name a module that can be imported"):
        pack(checkout, own=[Own("strategy", "none_such:pick")])
