"""How work runs and is kept: collection by Ray Train workers, trials, tracking, jobs."""

from rambo.terminal import answer_while_loading

answer_while_loading()
