"""The exceptions that the commands turn into a sentence on the user's terminal."""


class InvalidInput(ValueError):
    """Something the user gave cannot be used; the message says what must hold, what was given, what to do."""


class FitCollapsed(RuntimeError):
    """A fitted û scores both sets of most pairs alike, or by no number, so it orders nothing."""


class StrategyFailed(RuntimeError):
    """A strategy raised, or its answer is no selection; the message names it and says what must hold."""


class ClassifierFailed(RuntimeError):
    """A classifier of the user's own raised while it was trained; the message names it and says what it raised."""


def require(condition: bool, rule: str) -> None:
    """Raise `InvalidInput(rule)` unless `condition` holds."""
    if not condition:
        raise InvalidInput(rule)
