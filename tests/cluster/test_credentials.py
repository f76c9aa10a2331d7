"""Passwords in URLs are kept out of what is said and submitted."""

import pytest

from cluster.credentials import masked


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
