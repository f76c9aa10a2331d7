import errno
import fcntl
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rambo.errors import InvalidInput
from rambo.home import Home


class TestHome:
    def test_a_home_that_is_a_file_is_one_sentence(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(
            InvalidInput, match=r"--home must be a folder that can be written, got .*file \(File exists\)"
        ):
            Home(tmp_path / "file").check_writable()

    def test_a_home_in_the_working_folder_of_a_job_is_refused(self, tmp_path, monkeypatch):
        folder = tmp_path / "session_1/runtime_resources/working_dir_files/_ray_pkg_0"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        with pytest.raises(
            InvalidInput, match=rf"--home must outlast the job, got {folder}/runs, .*; give an absolute"
        ):
            Home("runs").check_writable()
        assert list(folder.iterdir()) == []
        Home("data").check_writable(lasting=False)
        Home(tmp_path).check_writable()

    @pytest.mark.parametrize("place", ["folder", "memory://modified"])
    def test_when_a_file_was_written_is_known_on_any_file_system(self, tmp_path, place):
        home = Home(tmp_path / place if place == "folder" else place)
        before = time.time() - 1
        home.write("a/b", b"1")
        assert before < home.modified("a/b") < time.time() + 1
        assert home.modified("a/c") is None

    def test_a_home_in_memory(self):
        home = Home("memory://tests/home")
        home.check_writable()
        home.write("a/b.txt", b"content")
        assert (home.read("a/b.txt"), home.list("a"), home.read("none")) == (b"content", ["b.txt"], None)

    def test_an_unknown_protocol_is_one_sentence(self):
        with pytest.raises(InvalidInput, match="--home must be a folder or an fsspec URL"):
            Home("nonsense://bucket")

    def test_files_appear_whole_or_not_at_all(self, tmp_path, monkeypatch):
        home = Home(tmp_path)
        home.write("a.txt", b"old")

        def full_disk(descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(InvalidInput, match="No space left on device; nothing kept before is lost"):
            home.write("a.txt", b"new")
        assert home.read("a.txt") == b"old"
        assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]

    @pytest.mark.parametrize(
        "name", ["My%20Project", "what?", "a#b", "a::b", "it's", "ü ö", "~no-such-user", "x" * 200]
    )
    def test_every_name_of_a_folder_is_that_folder(self, tmp_path, monkeypatch, name):
        monkeypatch.chdir(tmp_path)
        for text in (name, tmp_path / name, (tmp_path / name).as_uri()):
            home = Home(text)
            assert (home.is_local, home.root) == (True, str(tmp_path / name))
            home.check_writable()
            home.write("a/b?.txt", b"content")
            assert (home.read("a/b?.txt"), home.list("a")) == (b"content", ["b?.txt"])
        assert [item.name for item in tmp_path.iterdir()] == [name], "nothing lies beside it"
        assert home.url("mlflow.db") == (tmp_path / name / "mlflow.db").as_uri()

    def test_a_url_is_one_by_its_scheme_and_chains_nothing(self):
        home = Home("memory://of/a::b%20c?")
        home.write("x", b"there")
        assert (home.is_local, home.root, home.read("x")) == (False, "memory://of/a::b%20c?", b"there")
        assert home.url("x") == "memory://of/a::b%20c?/x"

    @pytest.mark.parametrize("text", ["", "memory://", "s3:///", "file://host/x", "zip://x"])
    def test_what_names_no_place_is_one_sentence(self, tmp_path, monkeypatch, text):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(InvalidInput, match=r"^--home must .*\.$"):
            Home(text)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("theirs", ["mlflow.db", "trials/2024-01-01/log.txt", "store/cache.bin"])
    def test_a_folder_where_another_program_keeps_its_own_is_refused(self, tmp_path, theirs):
        Home(tmp_path).write(theirs, b"theirs")
        with pytest.raises(InvalidInput, match=r"--home must be a folder of this project's, .*; choose another\."):
            Home(tmp_path).check_writable()
        assert [item for item in tmp_path.rglob("*") if item.is_file()] == [tmp_path / theirs]

    @pytest.mark.parametrize(
        "ours", ["trials/digits-0123456789ab/x", "store/ledger.jsonl", "studies/t/plan.json", "notes"]
    )
    def test_homes_of_ours_and_folders_with_other_things_are_taken(self, tmp_path, ours):
        Home(tmp_path).write(ours, b"")
        if ours != "notes":
            Home(tmp_path).write("mlflow.db", b"")
        Home(tmp_path).check_writable()

    def test_a_lock_is_waited_for_so_long_and_no_longer(self, tmp_path, monkeypatch):
        monkeypatch.setattr("rambo.home.LOCK_SECONDS", 0.1)
        (tmp_path / "folder").mkdir()
        with (tmp_path / "lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(InvalidInput, match="lock must be let go within 0 s"), Home(tmp_path).lock("lock"):
                pytest.fail("two hold it")
        with (
            pytest.raises(InvalidInput, match="folder must be writable, got: Is a directory"),
            Home(tmp_path).lock("folder"),
        ):
            pytest.fail("a folder is no lock")
        with pytest.raises(InvalidInput, match="folder must be readable, got: Is a directory"):
            Home(tmp_path).read("folder")


def test_who_works_on_one_thing_does_so_in_turn(tmp_path):
    home, order = Home(tmp_path), []

    def work(number):
        with home.in_turn("store/thing"):
            order.append(number)
            time.sleep(0.05)
            order.append(number)

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, range(4)))
    assert order[::2] == order[1::2]
    assert list((tmp_path / "store").iterdir()) == []


def test_without_locks_work_goes_on_at_once(tmp_path, monkeypatch):
    def refused(*given):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("rambo.home.fcntl.flock", refused)
    with Home(tmp_path).in_turn("thing"):
        pass
