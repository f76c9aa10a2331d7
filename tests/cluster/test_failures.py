"""Why a trial has no result, and whether another try could end otherwise."""

from cluster.failures import death


def test_what_ray_s_memory_monitor_kills_ran_out_of_memory(tmp_path):
    said = tmp_path / "error.txt"
    said.write_text("ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.\n")
    assert death(str(said), 4).cause == "memory"
    said.write_text("ray.exceptions.ActorDiedError: The actor died unexpectedly.\n")
    found = death(str(said), 4)
    assert found.cause == "killed"
    assert found.reason.startswith("its process died 4 times (")
    assert "The actor died unexpectedly." in found.reason
    assert death(None, 4).cause == "killed"
