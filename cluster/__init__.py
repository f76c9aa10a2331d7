"""How work runs and is kept: collection by Ray Train workers, trials, tracking, jobs."""
