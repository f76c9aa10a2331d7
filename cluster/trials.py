"""Experiments as trials over one shared store.

What is known in advance is collected once for all; each trial then learns its û, selects and evaluates on one process
of its own. A trial is finished when its folder holds a result, so the same command runs those that do not.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack

from cluster.collect import collect
from cluster.failures import read_failure
from cluster.limits import Meter
from cluster.nodes import check_nodes, files_of, own_of
from cluster.place import Place, Share, settle
from cluster.pool import Ended, TrialPool
from cluster.runtime import connected, resources_now
from rambo.formats import counted
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress, Units
from rambo.result import read_result
from rambo.store import Store

WAIT_SECONDS = 1.0
"""How long a look at what runs lasts."""

OnEnd = Callable[[Prepared], None]


def unfinished(experiments: Sequence[Prepared], home: Home, *, retry_failed: bool = False) -> list[Prepared]:
    """Those without a result, each once, and without those whose failure is final unless asked for."""
    folders: dict[str, Prepared] = {one.folder: one for one in experiments}
    found = []
    for folder, one in folders.items():
        failure = read_failure(home, folder)
        given_up = failure is not None and failure.is_final and not retry_failed
        if read_result(home, folder) is None and not given_up:
            found.append(one)
    return found


def missing_fits(experiments: Iterable[Prepared], store: Store) -> dict[str, Prepared]:
    """By key each û that the store lacks, with the first of `experiments` that asks for it."""
    known, found = store.known_utilities(), dict[str, Prepared]()
    for one in experiments:
        key = one.utility_key
        if key is not None and key not in known:
            found.setdefault(key, one)
    return found


def run_trials(
    experiments: Sequence[Prepared], place: Place, *, progress: Progress, on_end: OnEnd, meter: Meter | None = None
) -> None:
    """Collect for and run all of `experiments`; `on_end` hears of each in this process as soon as it has ended.

    Trials that share a û wait until one of them has learned it. A fit that collapses is not tried again; a trial that
    runs out of memory is given a larger share; one whose process dies is started `MAX_KILLED` times. Whatever fails
    leaves failure.json in the trial's folder and stops no other. Where `meter` allows no further trial the rest stays
    as it is.
    """
    if not experiments:
        return
    with ExitStack() as inside:
        with progress.doing("starting Ray"):
            inside.enter_context(connected(place.most_workers))
            share, resources = settle(place, progress)
            configs = [one.config for one in experiments]
            check_nodes(place.home, files_of(configs), own_of(configs))
        with progress.doing("looking up what the store has"):
            work = place.known_work(experiments)
        if work.num_trainings or work.num_ot:
            if meter is not None:
                meter.collect(work.num_trainings)
            progress.say(f"collecting {work}")
            collect(work, place.home, num_workers=place.num_workers, device=place.device, progress=progress)
        progress.say(f"running {counted(len(experiments), 'trial')}, {share.concurrency(resources)} at a time")
        with progress.units("trials", len(experiments)) as units:
            run = _Run(Line(experiments, Store(place.home)), place, share, on_end=on_end, meter=meter)
            run.to_the_end(units, progress)


class Line:
    """Trials that wait for their turn; one whose û another is fitting now is passed over until that has ended."""

    def __init__(self, experiments: Iterable[Prepared], store: Store) -> None:
        waiting = list(experiments)
        known = store.known_utilities()
        keys = {one.folder: key for one in waiting if (key := one.utility_key) is not None and key not in known}
        self._keys: Mapping[str, str] = keys
        self._waiting = waiting
        self._fitting: set[str] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    def first(self) -> Prepared | None:
        """The next one; None where all that wait wait for another."""
        return next((one for one in self._waiting if self._keys.get(one.folder) not in self._fitting), None)

    def begin(self, one: Prepared) -> None:
        """It waits no more."""
        self._waiting.remove(one)
        self._fitting |= self._key_of(one)

    def end(self, one: Prepared) -> None:
        """It has ended: those with the same û take that, or try themselves where it failed."""
        self._fitting -= self._key_of(one)

    def add(self, one: Prepared) -> None:
        """It waits again, behind all others."""
        self._waiting.append(one)

    def _key_of(self, one: Prepared) -> set[str]:
        return {self._keys[one.folder]} if one.folder in self._keys else set()


class _Run:
    """All trials of a command, from their beginning to their end."""

    def __init__(self, line: Line, place: Place, share: Share, *, on_end: OnEnd, meter: Meter | None) -> None:
        self._line, self._place, self._share, self._on_end, self._meter = line, place, share, on_end, meter
        self._larger: dict[str, Share] = {}
        """Of those that ran out of memory."""

    @property
    def _is_over(self) -> bool:
        return self._meter is not None and self._meter.over is not None

    def to_the_end(self, units: Units, progress: Progress) -> None:
        """Until none is left, or none may begin."""
        with TrialPool() as pool:
            while self._line or pool.seconds:
                self._fill(pool, units)
                if not pool.seconds:
                    if self._is_over:
                        return
                    settle(self._place, progress)  # nodes have gone: wait for others, or say what is missing
                for ended in pool.wait(WAIT_SECONDS):
                    self._end(ended, units)
                if self._meter is not None:
                    self._meter.spent.tick()

    def _fill(self, pool: TrialPool, units: Units) -> None:
        while (one := self._line.first()) is not None:
            share = self._larger.get(one.folder, self._share)
            may_begin = pool.has_room(share) and (
                self._meter is None or self._meter.begin(one.folder, one.num_later_trainings)
            )
            if not may_begin:
                return
            self._line.begin(one)
            units.begin(one.folder)
            pool.start(one, self._place, share)

    def _end(self, ended: Ended, units: Units) -> None:
        one = ended.one
        self._line.end(one)
        units.end(one.folder)
        if self._meter is not None:
            result = read_result(self._place.home, one.folder)
            self._meter.end(one.folder, 0 if result is None else result.trainings)
        if ended.failure is not None and ended.failure.cause == "memory":
            larger = self._larger.get(one.folder, self._share).doubled(resources_now())
            if larger is not None:
                self._larger[one.folder] = larger
                self._line.add(one)
                return
        self._on_end(one)
        units.advance(1)
