"""The memory of a search: an Optuna study that is asked for settings and told the truth about them.

Stopped trials are PRUNED; failures, and values that are no number, are FAIL with their reason; trials whose driver was
killed are FAIL as well and their settings enqueued again. Everything else that a search knows can be worked out from
the study.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, get_args

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from cluster.databases import (
    EXAMPLES,
    database_url,
    file_of,
    is_damaged,
    knock,
    reason_of,
    refuse_tables_of_others,
    shown,
)
from rambo.errors import InvalidInput, require
from rambo.fields import Value
from rambo.randomness import derive
from tune.records import ORPHANED, Attempt, SearchPlan, SeedOutcome, State
from tune.suggest import as_parameters, suggest

SAMPLERS = ("tpe", "gp", "random")
"""Tree-structured Parzen estimator | Gaussian process | independent draws."""


@dataclass(frozen=True)
class Suggestion:
    """A setting to try."""

    number: int
    """Of the trial, in the study."""
    fields: Mapping[str, Value]


class Search:
    """A study with the trials that are in hand."""

    def __init__(self, study: optuna.Study, plan: SearchPlan, *, idle: bool = False) -> None:
        """`idle`: ask for fields that a setting never reads too, as a sampler of one fixed space needs."""
        self._study, self._plan, self._idle = study, plan, idle
        self._hand: dict[int, optuna.Trial] = {}

    @property
    def num_in_hand(self) -> int:
        """Trials that were asked for and not yet told."""
        return len(self._hand)

    def ask(self) -> Suggestion:
        """The next setting; it is in hand until its end is told."""
        with calm():
            trial = self._study.ask()
            self._hand[trial.number] = trial
            fields = suggest(trial, self._plan.space, self._plan.base, idle=self._idle)
            trial.set_user_attr("fields", fields)
        return Suggestion(trial.number, fields)

    def place(self, number: int, folders: Sequence[str]) -> None:
        """Note where the results of a trial's seeds are kept."""
        self._hand[number].set_user_attr("folders", list(folders))

    def report(self, number: int, outcomes: Sequence[SeedOutcome]) -> None:
        """Note what the seeds so far gave; a trial that is run again after its process died may repeat itself."""
        trial, values = self._hand[number], [outcome.val_accuracy for outcome in outcomes]
        trial.set_user_attr("outcomes", [asdict(outcome) for outcome in outcomes])
        if len(self._plan.objectives) == 1:
            with calm():
                trial.report(sum(values) / len(values), len(values) - 1)

    def complete(self, number: int, values: Sequence[float]) -> None:
        """The trial ran all seeds; `values` are of the objectives, in their order."""
        self._study.tell(self._hand.pop(number), list(values))

    def prune(self, number: int) -> None:
        """The trial was stopped, since others are better."""
        self._study.tell(self._hand.pop(number), state=TrialState.PRUNED)

    def fail(self, number: int, reason: str, place: int | None = None) -> None:
        """The trial has no value; `place`: of the seed that failed, where it is not the one after those reported."""
        trial = self._hand.pop(number)
        trial.set_user_attr("reason", reason)
        if place is not None:
            trial.set_user_attr("failed_place", place)
        self._study.tell(trial, state=TrialState.FAIL)

    def means_at(self, place: int, but: int) -> list[float]:
        """Means over the first `place` + 1 seeds of all trials that came so far and did not fail, but for one."""
        good = [trial for trial in self._trials() if trial.state != TrialState.FAIL and trial.number != but]
        return [trial.intermediate_values[place] for trial in good if place in trial.intermediate_values]

    def attempts(self) -> list[Attempt]:
        """Every trial of this search, in order; those that only wait to be asked for are left out."""
        return [_attempt(trial) for trial in self._trials() if trial.state != TrialState.WAITING]

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those there are but for results that others have put in: what was not run here counts for nothing."""
        results = (TrialState.COMPLETE, TrialState.PRUNED)
        trials = self._study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state not in results or "fields" in trial.user_attrs]

    def close_orphans(self) -> int:
        """Fail all that is RUNNING and enqueue its setting again; how many there were.

        Only for who holds the search's lock: what runs then belongs to a driver that was killed.
        """
        self._hand.clear()
        orphans = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for orphan in orphans:
            self._close(orphan._trial_id, orphan.number, orphan.params)
        return len(orphans)

    def give_back(self, number: int) -> None:
        """Fail a trial that was never run and enqueue its setting again."""
        trial = self._hand.pop(number)
        self._close(trial._trial_id, number, trial.params)

    def _close(self, trial_id: int, number: int, parameters: Mapping[str, Any]) -> None:
        self._study._storage.set_trial_user_attr(trial_id, "reason", ORPHANED)
        self._study.tell(number, state=TrialState.FAIL)
        if parameters:
            self._study.enqueue_trial(dict(parameters))

    def start_from_base(self) -> None:
        """Make the base configuration the first trial of a new search, where it lies in the space."""
        if not self._study.get_trials(deepcopy=False) and self._plan.space.holds(self._plan.base):
            self._study.enqueue_trial(as_parameters(self._plan.space, self._plan.base))


def open_search(plan: SearchPlan, storage: str, sampler: str, seed: int, home: str | None = None) -> Search:
    """The search of `plan` in the database at the URL `storage`, made where there is none.

    `home`: the root of the home that it is run from, where the database is not the home's own. Raises `InvalidInput`
    where the database cannot be opened, or holds another search of the same name or one that is run from another home.
    """
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][: len(plan.objectives)]
    with _opened(storage) as database:
        is_new = plan.name not in optuna.get_all_study_names(database)
        study = optuna.create_study(study_name=plan.name, storage=database, directions=directions, load_if_exists=True)
        if not is_new:
            _check_ours(study, plan, storage, may_be_begun=home is None and study.directions == directions)
        if "plan" not in study.user_attrs:
            study.set_user_attr("plan", plan.to_bytes().decode())
        if home is not None:
            _check_home(study, home)
        study.sampler = make_sampler(sampler, derive(seed, "sampler", len(study.get_trials(deepcopy=False))))
    return Search(study, plan, idle=sampler == "gp")


def _check_ours(study: optuna.Study, plan: SearchPlan, storage: str, *, may_be_begun: bool) -> None:
    """Raise `InvalidInput` where a study is another search, or what another program has made.

    `may_be_begun`: it is where only this project's are, so that an empty one is of a command that was killed.
    """
    kept = study.user_attrs.get("plan")
    if kept is None and may_be_begun and not study.user_attrs and not study.get_trials(deepcopy=False):
        return
    try:
        old = SearchPlan.from_bytes(str(kept).encode())
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise InvalidInput(
            f"--study {plan.name} must be a search of this project in {shown(storage)}, got a study that something "
            "else has made; choose another --study or another --storage."
        ) from None
    plan.check_same(old)


def _check_home(study: optuna.Study, home: str) -> None:
    """A search's lock and its results are its home's: another home would fail the trials that run there."""
    owner = study.user_attrs.get("home")
    if owner is None:
        study.set_user_attr("home", home)
    require(
        owner in (None, home),
        f"--study {study.study_name} must be run from the --home that began it in this --storage, {owner}, got {home}; "
        "give that --home or choose another --study.",
    )


def read_search(plan: SearchPlan, storage: str) -> Search:
    """The same to be looked at; raises `InvalidInput` where the database lacks it, which is not made then."""
    missing = (
        f"--storage must hold the search {plan.name}, got {shown(storage)} without it; give the --storage it was run "
        "with."
    )
    file = file_of(database_url(storage, "--storage"))
    require(file is None or file.exists(), missing)
    with _opened(storage, missing) as database:
        require(plan.name in optuna.get_all_study_names(database), missing)
        study = optuna.load_study(study_name=plan.name, storage=database)
        _check_ours(study, plan, storage, may_be_begun=False)
        return Search(study, plan)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """A seeded sampler; TPE models fields together as far as they are read together."""
    require(name in SAMPLERS, f"--sampler must be one of {', '.join(SAMPLERS)}; got {name}.")
    short = seed % 2**32
    with calm():
        if name == "tpe":
            return TPESampler(seed=short, multivariate=True, group=True)
        if name == "gp":
            return GPSampler(seed=short, warn_independent_sampling=False)
        return RandomSampler(seed=short)


def _attempt(trial: optuna.trial.FrozenTrial) -> Attempt:
    attributes = trial.user_attrs
    state = next(state for state in get_args(State) if state == trial.state.name)
    outcomes = tuple(SeedOutcome(**outcome) for outcome in attributes.get("outcomes", ()))
    folders = tuple(attributes.get("folders", ()))
    return Attempt(
        number=trial.number,
        state=state,
        fields=attributes.get("fields", {}),
        folders=folders,
        outcomes=outcomes,
        reason=attributes.get("reason"),
        failed_place=attributes.get("failed_place"),
    )


@contextmanager
def calm() -> Iterator[None]:
    """Keep Optuna quiet, which says much that is no news: that TPE's groups are experimental, that few are few."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(storage: str, missing: str | None = None) -> Iterator[optuna.storages.RDBStorage]:
    """The database at `storage`; a sentence of what SQLAlchemy, a driver or Optuna say of it within.

    Where it has no studies they are made, or `missing`, if given, is raised.
    """
    url = database_url(storage, "--storage")
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        tables = knock(url)
        refuse_tables_of_others(url, tables, "studies", "--storage")
        require(missing is None or "studies" in tables, str(missing))
        with calm():
            yield optuna.storages.RDBStorage(url, engine_kwargs=options)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError, OSError) as error:
        if is_damaged(error):
            raise InvalidInput(
                f"The database of a search must be whole, got {shown(url)} ({reason_of(error)}); bring back a copy, or "
                "move it away: tune run begins the search again, with what its trials have measured."
            ) from None
        raise InvalidInput(
            f"--storage must be the URL of a database that can be opened, got {shown(url)} ({reason_of(error)}); give "
            f"{EXAMPLES}."
        ) from None
