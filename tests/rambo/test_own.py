"""Functions of the user's own: their modules are found, imported once, and known by their bytes."""

import hashlib
import pickle
import sys

import pytest

from rambo.config import Config
from rambo.errors import InvalidInput
from rambo.fields import config_id, effective_fields, override
from rambo.own import Own, folders, is_own, look_in
from rambo.presets import quickstart
from rambo.sections import CLASSIFIERS
from rambo.strategies.facts import FACTS

PICK = "def pick(request, generator):\n    return request.pool.unlabelled[: request.budget]\n"
NET = """
from torch import nn

def net(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))
"""
NAMED = {"strategy": "mine:pick", "classifier.name": "mine:net"}


@pytest.mark.parametrize(
    "name", [*FACTS, *CLASSIFIERS, "", ":", "mine", "mine:", ":pick", "a:b:c", "a b:c", "a/b.py:pick", "1a:pick"]
)
def test_other_names_have_not_the_form_of_a_function_in_a_module(name):
    assert not is_own(name)


def test_a_package_that_cannot_be_imported_is_told_from_one_that_is_not_there(modules, tmp_path):
    modules.write(PICK, "lab.mine")
    (tmp_path / "lab/__init__.py").write_text("import none_such\n")
    with pytest.raises(InvalidInput, match="got ModuleNotFoundError in it: No module named 'none_such'"):
        Own("strategy", "lab.mine:pick").function()


@pytest.mark.parametrize(("field", "kind"), [("strategy", "strategy"), ("classifier.name", "classifier")])
def test_sentences_say_which_field_names_it(field, kind):
    with pytest.raises(InvalidInput, match=f"^{kind} none_such:it must name a module that can be imported, got none_s"):
        Own(field, "none_such:it").function()


def test_naming_one_imports_nothing(modules):
    modules.write(PICK)
    override(Config(), NAMED)
    assert Own("strategy", "mine:pick").source().content == PICK.encode()
    assert "mine" not in sys.modules
    Own("strategy", "mine:pick").function()
    assert "mine" in sys.modules


def id_of(field: str) -> str:
    return config_id(override(quickstart(), {field: NAMED[field]}), 1000)


@pytest.mark.parametrize("field", NAMED)
def test_the_bytes_of_the_file_are_a_part_of_the_id_and_its_place_is_not(modules, tmp_path, field):
    modules.write(PICK + NET, folder=tmp_path / "here")
    first = id_of(field)
    found = effective_fields(override(quickstart(), {field: NAMED[field]}), 1000)
    source = f"{Own(field, NAMED[field]).kind}_source"
    assert found[source] == hashlib.sha256((PICK + NET).encode()).hexdigest()[:16]
    assert {name for name in found if name.endswith("_source")} == {source}
    modules.write(PICK + NET, folder=tmp_path / "there")
    assert id_of(field) == first
    modules.write(PICK + NET + "# edited\n", folder=tmp_path / "there")
    assert id_of(field) != first


def test_what_is_edited_after_it_was_imported_counts_as_it_was(modules):
    path = modules.write(PICK)
    first = id_of("strategy")
    path.write_text(PICK + "# edited\n")
    assert id_of("strategy") == first
    modules.forget()
    assert id_of("strategy") != first


def test_the_folder_that_a_module_is_imported_from(modules, tmp_path):
    modules.write(PICK, "lab.inner.mine", folder=tmp_path / "packages")
    modules.write(PICK, "lab.__init__", folder=tmp_path / "packages")
    modules.write(PICK, folder=tmp_path / "files")
    assert Own("strategy", "lab.inner.mine:pick").source().folder == tmp_path / "packages"
    assert Own("strategy", "lab:pick").source().folder == tmp_path / "packages"
    assert folders() == []
    Own("strategy", "lab.inner.mine:pick").function()
    Own("strategy", "mine:pick").function()
    assert folders() == [str(tmp_path / "files"), str(tmp_path / "packages")]


def test_another_process_is_told_where_to_look(modules, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "far").mkdir()
    (tmp_path / "far/told_of.py").write_text(PICK)
    with pytest.raises(InvalidInput, match="got told_of, which is not there"):
        Own("strategy", "told_of:pick").function()
    look_in([str(tmp_path / "far")])
    look_in([str(tmp_path / "far")])
    assert sys.path.count(str(tmp_path / "far")) == 1
    assert Own("strategy", "told_of:pick").function().__name__ == "pick"
    sys.modules.pop("told_of")


def test_what_another_process_must_find_is_sent_to_it_and_another_file_is_refused(modules, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules.write(PICK, folder=tmp_path / "there")
    sent = pickle.dumps(Own("strategy", "mine:pick").pinned())
    modules.forget()
    sys.path.remove(str(tmp_path / "there"))
    pickle.loads(sent).check_here()
    modules.write(PICK + "# edited\n", folder=tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match=r"^strategy mine:pick must be one file in every process, got .*elsewhere/m"):
        pickle.loads(sent).check_here()


def test_what_was_raised_is_told_with_its_line_in_the_user_s_file(modules):
    modules.write("def pick():\n    return int('x')\n\n\ndef deeper():\n    pick()\n")
    own = Own("strategy", "mine:deeper")
    with pytest.raises(ValueError, match="invalid literal") as caught:
        own.function()()
    assert own.said(caught.value) == "ValueError: invalid literal for int() with base 10: 'x' (mine.py:2)"
