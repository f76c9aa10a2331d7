"""Passwords in URLs are kept out of what is said and submitted."""

import pytest

from cluster.credentials import masked, refuse_credentials
from rambo.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("API request to https://ann:pw@host:5000/api failed", "API request to https://ann:***@host:5000/api failed"),
        ("to postgresql://ann:aB/c9@db/x and on", "to postgresql://ann:***@db/x and on"),
        ("postgresql://ann:p@s/s@db/x?mail=a@b", "postgresql://ann:***@db/x?mail=a@b"),
        ("http://ann:aB/c9@host/api", "http://ann:***@host/api"),
        ("postgresql://db:5432/x", "postgresql://db:5432/x"),
        ("s3://bucket/runs?AWS_SECRET_ACCESS_KEY=abc&x=1", "s3://bucket/runs?AWS_SECRET_ACCESS_KEY=***&x=1"),
        ("http://127.0.0.1:8265/#/a:b@c", "http://127.0.0.1:8265/#/a:b@c"),
        ("npz:a@b.npz", "npz:a@b.npz"),
    ],
)
def test_passwords_are_masked_and_nothing_else(text, expected):
    assert masked(text) == expected


def test_masking_what_is_masked_changes_nothing():
    once = masked("postgresql://ann:aB/c9@db/x and http://ann:pw@host/api?token=abc")
    assert masked(once) == once


@pytest.mark.parametrize("word", ["s3://b/x?api_key=hunter2", "--storage=postgresql://ann:hunter2@db/x"])
def test_a_password_is_refused_with_the_variables_that_hold_it_instead(word):
    with pytest.raises(InvalidInput, match=r"^A submitted command must carry no password, .*\*\*\*") as caught:
        refuse_credentials(["python", "-m", "rambo", word])
    assert "hunter2" not in str(caught.value)
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        assert name in str(caught.value)


def test_a_command_without_passwords_is_let_through():
    words = ["--home=s3://bucket/runs", "--storage=postgresql://ann@db:5432/x", "--data.source=npz:a@b.npz"]
    refuse_credentials(words)
    assert [masked(word) for word in words] == words
