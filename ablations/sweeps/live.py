"""A study while a driver works on it: held against other commands, its trials that wait, what it shows."""

from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace

from ablations.margin import MARGIN
from ablations.plans import named_study, read_study, with_margin
from ablations.run import Ended, conclude, kept_reporting, show_study, standing, write_report
from ablations.summary import summary_of
from ablations.sweeps.choice import Candidate, Cost
from ablations.sweeps.declaration import Sweep
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import Kept, State
from ablations.sweeps.studies import SweepStudy, standing_of, with_owner
from cluster.failures import Failure
from cluster.place import Place, Share
from cluster.tracking.server import server_address
from rambo.errors import InvalidInput
from rambo.preparation import Prepared
from rambo.progress import Progress
from rambo.result import read_result

TIMED = 200
"""Finished trials of a study whose times tell how long others take."""


class LiveStudy:
    """One study of a sweep in the hands of its driver."""

    def __init__(self, study: SweepStudy, place: Place, share: Share, progress: Progress) -> None:
        """Hold it and write its plan; raises `InvalidInput` where another command runs it, or trials would be lost."""
        self.study, self.place, self.share = study, place, share
        self._home, self._larger = place.home, dict[str, Share]()
        named = named_study(study.name, self._home)
        busy = f"The study {study.name} must be run by one command at a time, got a second; wait for the first to end."
        with ExitStack() as held:
            held.enter_context(named.alone(busy))
            now = standing_of(study, self._home)
            self.plan = with_margin(with_owner(study, self._home), self._home, MARGIN, None)
            named.keep({"plan.json": self.plan.to_bytes()})
            self.trials = study.trials
            self.done, self.failed = set(now.folders("done")), set(now.folders("failed"))
            self.waiting = dict.fromkeys(folder for folder in now.folders("missing", "stale") if not self._has(folder))
            self.in_hand = set[str]()
            self._cells = {folder: cell for (cell, _), folder in reversed(list(self.plan.folders.items()))}
            self._took = defaultdict[str, _Mean](_Mean)
            self._took_any = _Mean()
            for folder in now.folders("done")[:TIMED]:
                self._time(folder)
            entries = self.plan.entries(self._home)
            self._held = held.pop_all()
        self.is_closed = False
        self._showing = show_study(self.plan, self._home, progress)
        for entry in entries:
            self._showing.publish(entry)

    @property
    def name(self) -> str:
        """Of the study."""
        return self.study.name

    @property
    def page(self) -> str:
        """Where its trials are seen: an address on a server, else its experiment."""
        pages, server = self._showing.pages, server_address(self._home)
        return f"{server}{pages[0]}" if server and pages else f"the experiment ablations/{self.name}"

    @property
    def candidates(self) -> list[Candidate]:
        """Its trials that wait."""
        sweep, priority = self.study.sweep, self.study.declared.priority
        return [Candidate(sweep, self.name, folder, priority, self.trials[folder][1]) for folder in self.waiting]

    def share_of(self, folder: str) -> Share:
        """What a trial is given: more where it ran out of memory."""
        return self._larger.get(folder, self.share)

    def cost(self, folder: str) -> Cost:
        """What a trial is expected to take: as others of its cell did, else as any of the study; 0 before one ends."""
        share, known = self.share_of(folder), self._took.get(self._cells[folder], self._took_any)
        return Cost(known.value, share.num_cpus, share.num_gpus or 0.0)

    def begin(self, folder: str) -> None:
        """A trial was started."""
        del self.waiting[folder]
        self.in_hand.add(folder)

    def end(self, folder: str, failure: Failure | None, larger: Share | None) -> None:
        """A trial of this study has ended, whoever started it; one that has `larger` to be tried with waits again."""
        self.in_hand.discard(folder)
        if folder not in self.trials:
            return
        if failure is not None and larger is not None:
            self._larger[folder] = larger
            self.waiting[folder] = None
            return
        self.waiting.pop(folder, None)
        (self.done if failure is None else self.failed).add(folder)
        if failure is None:
            self._time(folder)
        for entry in self.plan.entries(self._home, folder):
            self._showing.publish(entry)

    @property
    def is_complete(self) -> bool:
        """Whether nothing of it waits or runs."""
        return not self.waiting and not self.in_hand

    def give_back(self, folder: str) -> None:
        """A trial was ended before it had a result: it waits again."""
        if folder in self.in_hand:
            self.in_hand.discard(folder)
            self.waiting[folder] = None

    def try_again(self) -> bool:
        """Let those wait whose failure somebody has taken back; whether there are any."""
        again = {folder for folder in self.failed if self._home.read(f"{folder}/failure.json") is None}
        self.failed -= again
        self.waiting |= dict.fromkeys(again)
        return bool(again)

    def close(self, *, killed: bool = False) -> Ended | None:
        """Write its tables, as far as it is, show all in MLflow and let it go; what a killed driver has no time for."""
        self.is_closed = True
        with self._held:
            if killed:
                with suppress(Exception):  # a disk that has gone away must not hide what came first
                    found = read_study(self.plan, self._home)
                    self._showing.close(summary_of(self.plan, found, standing(self.plan, self._home)), "KILLED")
                return None
            return self._conclude()

    def _conclude(self) -> Ended:
        study, kept = read_study(self.plan, self._home), kept_reporting(self._home, self.name)
        try:
            reporting = replace(kept, allow_mixed=False)
            files = write_report(study, self._home, reporting)
        except InvalidInput:  # cells with unequal seeds, or trials of several training versions: marked
            reporting = replace(kept, allow_mixed=True)
            files = write_report(study, self._home, reporting)
        return conclude(self.plan, self._home, files, reporting, self._showing, num_run=0)

    def _has(self, folder: str) -> bool:
        return read_result(self._home, folder) is not None

    def _time(self, folder: str) -> None:
        result = read_result(self._home, folder)
        if result is not None:
            seconds = sum(result.seconds.values())
            self._took[self._cells[folder]].add(seconds)
            self._took_any.add(seconds)


@dataclass
class _Mean:
    total: float = 0.0
    count: int = 0

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else 0.0

    def add(self, value: float) -> None:
        self.total += value
        self.count += 1


@dataclass
class LiveSweep:
    """A sweep in the hands of the driver."""

    kept: Kept | None
    """As all of it is in hand; None before it is."""
    declared: Sweep
    hours: Hours
    state: State = "running"
    studies: dict[str, LiveStudy] = field(default_factory=dict)
    why: str | None = None
    """What keeps its next trial from being started, one sentence."""
    ended: dict[str, Ended] = field(default_factory=dict)
    """Studies that are complete, by name."""

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.declared.name


@dataclass
class InHand:
    """A trial that runs."""

    sweep: str
    share: Share
    one: Prepared
    cost: Cost
    fit: str | None
    """The û that it fits and others wait for."""
