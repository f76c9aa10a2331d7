"""Passwords in URLs: kept out of what is submitted, and out of what is said."""

import re
from collections.abc import Sequence

from rambo.errors import InvalidInput

_USER_INFO = re.compile(
    r"((?<!http)(?<!https)://[^/\s:]*:|https?://[^/\s:]*:(?!\d*/))"  # only of http is what follows a colon ever a port
    r"(?:[^?\s]+|\S+)(?=@)"  # a database takes whatever stands before the @, slashes too
)
_QUERY = re.compile(r"([?&][\w-]*(?:password|passwd|token|secret|api_?key)[\w-]*=)[^&\s]+", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` without the passwords of the URLs in it.

    >>> masked("http://ann:hunter2@mlflow.example/api?token=abc&page=2")
    'http://ann:***@mlflow.example/api?token=***&page=2'
    >>> masked("postgresql://ann:aB/c9@db/x")
    'postgresql://ann:***@db/x'
    """
    return _QUERY.sub(r"\1***", _USER_INFO.sub(r"\1***", text))


def refuse_credentials(words: Sequence[str]) -> None:
    """Raise `InvalidInput` where a URL among `words` of a command carries a password."""
    for word in words:
        if masked(word) != word:
            raise InvalidInput(
                f"A submitted command must carry no password, since whoever sees the cluster's jobs reads it, got "
                f"{masked(word)}; leave it out and set it in the environment of the cluster's nodes before Ray starts "
                "there (MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, PGPASSWORD)."
            )
