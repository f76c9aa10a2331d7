"""How much of a cluster a trial occupies, and what can never fit."""

import pytest

from cluster.place import Share
from cluster.runtime import Resources
from rambo.errors import InvalidInput


def cluster(*nodes: tuple[int, int]) -> Resources:
    return Resources(nodes)


def test_as_many_trials_run_at_once_as_the_cluster_has_room_for():
    assert Share(1).concurrency(cluster((4, 0))) == 4
    assert Share(1, 0.25).concurrency(cluster((16, 2))) == 8
    assert Share(1, 0.1).concurrency(cluster((64, 3))) == 30
    assert Share(3).concurrency(cluster((4, 0))) == 1
    assert Share(1, 0.4).concurrency(cluster((16, 2))) == 4, "a share lies on one GPU"
    assert Share(1, 0.25).concurrency(cluster((0, 0), (8, 1), (2, 1))) == 6, "node by node"
    assert Share(3).concurrency(cluster((4, 0), (4, 0), (2, 0))) == 2


@pytest.mark.parametrize("share", [Share(5), Share(1, 0.5), Share(1, 1)])
def test_a_trial_that_can_never_fit_is_refused_with_what_the_cluster_has(share):
    with pytest.raises(InvalidInput, match="which has nodes of 4 CPUs and 0 GPUs, got"):
        share.concurrency(cluster((4, 0)))


def test_what_only_two_nodes_together_could_hold_is_refused():
    with pytest.raises(InvalidInput, match="must fit into a node of the cluster"):
        Share(6).concurrency(cluster((4, 0), (4, 0)))
    with pytest.raises(InvalidInput, match="must fit into a node of the cluster"):
        Share(1, 2).concurrency(cluster((8, 1), (8, 1)))


def test_a_share_of_a_gpu_is_taken_where_there_are_any():
    assert Share(2).on(cluster((8, 0)), "auto") == Share(2, 0)
    assert Share(2).on(cluster((0, 0), (8, 1)), "auto") == Share(2, 0.25)
    assert Share(2).on(cluster((8, 1)), "cpu") == Share(2, 0)
    assert Share(2, 1).on(cluster((8, 1)), "auto") == Share(2, 1)
    with pytest.raises(InvalidInput, match="needs a cluster with GPUs"):
        Share(2).on(cluster((8, 0)), "cuda")


def test_after_running_out_of_memory_a_trial_gets_more_until_it_has_the_whole():
    assert Share(1, 0.25).doubled(cluster((8, 2))) == Share(1, 0.5)
    assert Share(1, 0.75).doubled(cluster((8, 2))) == Share(1, 1.0)
    assert Share(1, 1.0).doubled(cluster((8, 2))) is None
    assert Share(1).doubled(cluster((3, 0))) == Share(2)
    assert Share(2).doubled(cluster((3, 0))) == Share(3)
    assert Share(3).doubled(cluster((3, 0))) is None
    assert Share(4).doubled(cluster((4, 0), (4, 0))) is None, "no node has more"
