import os

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
