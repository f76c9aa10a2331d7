"""What a home keeps of sweeps, and whose it takes for which."""

import re

import pytest
from sweep_files import study_text

from ablations.sweeps.kept import CONTROL, Kept, all_kept, existing, keep, keep_state, read_kept, read_state
from rambo.errors import InvalidInput
from rambo.home import Home


def test_a_sweep_is_read_as_it_was_kept(write, wanted):
    path = write("spring", limits="running = 3")
    home = wanted(path)
    kept = existing(home, "spring")
    assert kept == read_kept(home, "spring")
    assert kept.declared() == Kept.of(path)[1]
    assert [one.sweep for one in all_kept(home)] == ["spring"]
    assert kept.edited() is None


def test_relative_paths_are_the_files_folder_s_wherever_it_is_read(write, wanted, tmp_path, monkeypatch):
    home = wanted(write("spring", study_text("own", fields={"data.source": "npz:images.npz"})))
    monkeypatch.chdir("/")
    assert existing(home, "spring").declared().studies[0].grid.base.data.source == f"npz:{tmp_path}/images.npz"


def test_an_edited_file_is_seen_on_the_machine_that_has_it_alone(write, wanted):
    from dataclasses import replace

    path = write("spring")
    kept = existing(wanted(path), "spring")
    write("spring", study_text("digits", priority=4))
    assert kept.edited().declared().studies[0].priority == 4
    assert replace(kept, host="elsewhere").edited() is None
    path.unlink()
    assert kept.edited() is None


def test_an_edit_is_seen_where_the_file_is_a_link_whose_target_goes(write, wanted, tmp_path):
    """Kubernetes mounts a ConfigMap so: an edit is a new folder, to which one link is turned."""
    first, second = tmp_path / "..first", tmp_path / "..second"
    first.mkdir()
    path = write("spring").rename(first / "spring.toml")
    (tmp_path / "..data").symlink_to(first)
    (tmp_path / "mounted.toml").symlink_to("..data/spring.toml")
    kept = existing(wanted(tmp_path / "mounted.toml"), "spring")
    second.mkdir()
    write("spring", study_text("digits", priority=4)).rename(second / "spring.toml")
    (tmp_path / "..data").unlink()
    (tmp_path / "..data").symlink_to(second)
    path.unlink()
    assert kept.edited().declared().studies[0].priority == 4


def test_a_sweep_at_another_scale_is_another_and_so_are_its_edits(write, tmp_path):
    def letters(*budgets):
        text = 'name = "letters"\npreset = "paper_mnist"\nseeds = "0"\n[study.fields]\nstrategy = "random"\n'
        return f"[[study]]\n{text}[study.grid]\n" + f'"acquisition.budget" = {list(budgets)}\n'

    path, home = write("spring", letters(500, 700)), Home(tmp_path / "home")
    for scale in ("full", "small"):
        keep(home, *Kept.of(path, scale=scale))
    assert [one.sweep for one in all_kept(home)] == ["spring", "spring-small"]
    small = existing(home, "spring-small")
    (study,) = small.declared().studies
    assert (study.name, study.grid.factors[0].levels) == ("letters-small", (200, 280))
    write("spring", letters(500, 900))
    assert small.edited().declared().studies[0].grid.factors[0].levels == (200, 360)


def test_an_edited_file_keeps_its_name(write, wanted):
    path = write("spring")
    kept = existing(wanted(path), "spring")
    path.write_text(path.read_text().replace('name = "spring"', 'name = "summer"'))
    with pytest.raises(InvalidInput, match=r"must keep the name spring, got summer; apply it as a sweep of its own\.$"):
        kept.edited()


def test_another_sweep_of_that_name_is_refused_and_one_that_moved_is_not(write, wanted, tmp_path):
    home = wanted(write("spring", study_text("digits"), study_text("more")))
    moved = tmp_path / "moved.toml"
    moved.write_text((tmp_path / "spring.toml").read_text())
    keep(home, *Kept.of(moved))
    other = tmp_path / "other.toml"
    other.write_text(moved.read_text().replace('"digits"', '"letters"', 1).replace('"more"', '"less"'))
    text = rf"{re.escape(str(other))} must declare a study of the sweep spring .*digits, more, got less, letters; give"
    with pytest.raises(InvalidInput, match=text):
        keep(home, *Kept.of(other))
    assert existing(home, "spring").source == str(moved)


def test_two_sweeps_may_share_a_study_that_is_the_same_and_no_other(write, wanted):
    wanted(write("spring", study_text("digits"), study_text("more")))
    wanted(write("summer", study_text("digits", priority=7)))
    with pytest.raises(InvalidInput, match=r"The study digits of autumn must be as the sweep s\w+ has it, got other"):
        wanted(write("autumn", study_text("digits", seeds="0-4")))


def test_what_is_there_is_named_where_a_name_is_not(write, wanted):
    with pytest.raises(InvalidInput, match=r"got sprin; there: spring\.$"):
        existing(wanted(write("spring")), "sprin")


def test_a_sweep_runs_until_it_is_told_otherwise_and_a_damaged_word_is_one_sentence_whose_advice_works(tmp_path):
    home = Home(tmp_path)
    assert read_state(home, "spring") == "running"
    keep_state(home, "spring", "paused")
    assert read_state(home, "spring") == "paused"
    for content in (b"{", b'{"state": "asleep"}', b"[]"):
        home.write(f"sweeps/spring/{CONTROL}", content)
        with pytest.raises(InvalidInput, match=r"control\.json must be whole .*; remove it: the sweep then runs\.$"):
            read_state(home, "spring")
    home.remove(f"sweeps/spring/{CONTROL}")
    assert read_state(home, "spring") == "running"


def test_a_sweep_whose_module_is_gone_keeps_no_other_back_and_is_mended_by_its_own_file(write, wanted, modules):
    modules.write("def pick(request):\n    return request.pool.unlabelled[: request.budget]\n", "a_mended_one")
    text = study_text("own", strategy=["a_mended_one:pick", "random"])
    home = wanted(write("spring", text))
    before, file = existing(home, "spring"), "sweeps/spring/sweep.json"
    home.write(file, home.read(file).replace(b"a_mended_one", b"a_lost_one"))
    with pytest.raises(InvalidInput, match="a_lost_one"):
        existing(home, "spring").declared()
    wanted(write("summer", study_text("digits")))
    wanted(write("spring", text))
    assert existing(home, "spring").text == before.text


def test_a_damaged_sweep_is_mended_as_its_sentence_says(write, wanted):
    path = write()
    home = wanted(path)
    home.write("sweeps/spring/sweep.json", b"{}")
    with pytest.raises(InvalidInput, match=r"; remove it and apply the file again\.$"):
        wanted(path)
    home.remove("sweeps/spring/sweep.json")
    wanted(path)


def test_a_file_system_that_has_gone_away_is_as_a_file_that_is_not_there(write, wanted, monkeypatch):
    import os

    kept = existing(wanted(write()), "spring")

    def stale(path, **given):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(os, "stat", stale)
    assert kept.edited() is None
