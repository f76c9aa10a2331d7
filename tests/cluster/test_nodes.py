"""What experiments read and import; that nodes are asked for it is tried on real nodes in test_jobs.py."""

from cluster.nodes import files_of, own_of
from rambo.fields import override


def test_files_that_experiments_read(tiny, folder):
    configs = [override(tiny, {"data.source": "npz:a.npz"}), override(tiny, {"utility_model.weights": "w.pt"}), tiny]
    assert files_of(configs) == [f"{folder}/a.npz", f"{folder}/w.pt"]


def test_what_experiments_call_of_the_user_s_own_is_imported_here_and_named_once(tiny, modules, tmp_path):
    modules.write("def pick():\n    pass\n\n\nnet = pick\n")
    both = override(tiny, {"strategy": "mine:pick", "classifier.name": "mine:net"})
    found = own_of([tiny, both, override(both, {"seed": 1})])
    assert [(str(one.own), one.folder) for one in found] == [
        ("classifier mine:net", str(tmp_path)),
        ("strategy mine:pick", str(tmp_path)),
    ]
    assert files_of([both]) == []
