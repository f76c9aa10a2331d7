import pytest

from cluster.runtime import Resources, check_workers, connected, parse_num_workers
from rambo.errors import InvalidInput


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("12", 12), ("2-8", (2, 8)), ("3-3", 3)])
def test_numbers_of_workers(text, expected):
    assert parse_num_workers(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-2", "2-", "0-4", "8-2", "2-4-6", "two", "1.5", "²"])
def test_other_texts_are_refused_in_one_sentence(text):
    with pytest.raises(InvalidInput) as caught:
        parse_num_workers(text)
    assert str(caught.value) == f"--num-workers must be a number from 1, or a range of them such as 2-8, got {text!r}."


def test_more_workers_than_the_cluster_can_hold_are_refused():
    check_workers(4, Resources(num_cpus=4, num_gpus=0))
    check_workers((4, 100), Resources(num_cpus=4, num_gpus=0))
    with pytest.raises(InvalidInput, match="1 to 4 workers, as many as the cluster has CPUs, got 5; ask for fewer"):
        check_workers((5, 8), Resources(num_cpus=4, num_gpus=0))
    with pytest.raises(InvalidInput, match="1 to 2 workers, as many as the cluster has GPUs, got 3; ask for fewer"):
        check_workers(3, Resources(num_cpus=4, num_gpus=2))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense"])
def test_a_cluster_that_does_not_answer_is_one_sentence(address, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InvalidInput) as caught, connected():
        pass
    sentence = str(caught.value)
    assert sentence.startswith(f"RAY_ADDRESS must name a Ray cluster that answers, got {address} (")
    assert "\n" not in sentence
