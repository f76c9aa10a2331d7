"""The one driver of a home: brings all its sweeps to completion, highest priority first, within their limits.

It reads anew what is wanted at each choice, so what is applied, edited, paused or taken back meanwhile is seen by the
next one. All it knows stands in the home: another driver goes on where this one was.
"""

import math
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ablations.sweeps.choice import Candidate, Cost, Spent, Standing, in_order, obstacle
from ablations.sweeps.hours import Hours
from ablations.sweeps.kept import DRIVER_LOCK, Kept, State, all_kept, check_kept, keep, read_kept, read_state
from ablations.sweeps.live import InHand, LiveStudy, LiveSweep
from ablations.sweeps.studies import prepare_study, with_owner
from ablations.sweeps.telling import Teller
from cluster.collect import Forecast, collect, device_here, pilot
from cluster.nodes import check_nodes, files_of, own_of
from cluster.place import Share, settle
from cluster.pool import Ended, TrialPool
from cluster.runtime import connected, resources_now
from cluster.work import Work
from rambo.errors import InvalidInput
from rambo.home import Home
from rambo.preparation import Prepared
from rambo.progress import Progress, Units
from rambo.store import Store

WAIT_SECONDS = 1.0
"""How long a look at what runs lasts."""

BUSY = "A home must have one driver at a time, got a second: the one at work sees what was applied at its next choice."


class Driver:
    """All sweeps of a home, from here to their completion."""

    def __init__(self, home: Home, data_dir: Path, progress: Progress) -> None:
        self._home, self._data_dir, self._progress = home, data_dir, progress
        self.num_run = 0
        """Trials that ended in these hands."""
        self._forget()

    def _forget(self) -> None:
        self.sweeps: dict[str, LiveSweep] = {}
        self.refused: dict[str, InvalidInput] = {}
        """By sweep why it, or the last edit of its file, could not be taken in hand."""
        self._in_hand: dict[str, InHand] = {}
        self._collected: set[str] = set()
        self._fits: dict[str, str | None] = {}
        self._fitted: set[str] = set()
        self._order: list[Candidate] | None = None
        self._put_off: dict[tuple[str, int], str] = {}
        """By sweep and priority why what they need is not measured for now."""
        self._timed: dict[tuple[str, int], Forecast] = {}
        self._has_measured = False
        """Since the last look at what is wanted, which may be another by now."""
        self._wanted: dict[str, tuple[Kept, State]] = {}
        """As it was at that look."""
        self._teller = Teller(self._home, self._progress)

    def run(self) -> None:
        """Until nothing is left that may be started, also of what was applied while this was ending.

        Raises `InvalidInput` where another driver is at work.
        """
        self._work()
        while self._is_overtaken():
            self._forget()
            self._work()

    def _is_overtaken(self) -> bool:
        """Whether more is wanted than was at the last look: who wanted it was told that this driver would see it."""
        failed = [folder for sweep in self.sweeps.values() for live in sweep.studies.values() for folder in live.failed]
        try:
            now = {kept.sweep: (kept, read_state(self._home, kept.sweep)) for kept in all_kept(self._home)}
            return now != self._wanted or any(self._home.read(f"{one}/failure.json") is None for one in failed)
        except InvalidInput:  # the next command that needs it says so
            return False

    def _work(self) -> None:
        with ExitStack() as inside:
            inside.enter_context(self._home.lock(DRIVER_LOCK, BUSY))
            units = inside.enter_context(self._progress.units("trials", 1))
            with self._progress.doing("starting Ray"):
                inside.enter_context(connected(None))
            self._fitted = set(Store(self._home).known_utilities())
            inside.callback(self._teller.leave)
            self._teller.arrive()
            self._loop(inside.enter_context(TrialPool()), units)

    def _loop(self, pool: TrialPool, units: Units) -> None:
        try:
            while True:
                self._has_measured = False
                self._refresh(pool)
                self._fill(pool, units)
                if self._has_measured:
                    continue
                if not pool.seconds:
                    break
                for ended in pool.wait(WAIT_SECONDS):
                    self._end(ended, units)
                self._tick(pool)
        except BaseException:
            with suppress(InvalidInput):  # a full disk must not hide what came first
                self._note_hours(pool, is_end=True)
            for live in self._live():
                live.close(killed=True)
            self._teller.close(self.sweeps, self._in_hand, "KILLED")
            raise
        for sweep in self.sweeps.values():
            for live in list(sweep.studies.values()):
                self._conclude(sweep, live)
        self._teller.close(self.sweeps, self._in_hand)

    # what is wanted

    def _refresh(self, pool: TrialPool) -> None:
        for kept in all_kept(self._home):
            name = kept.sweep
            try:
                state = read_state(self._home, name)
                self._wanted[name] = kept, state
                if name in self.sweeps:
                    self._heed(self.sweeps[name], state, pool)
                self._look_at(kept, state)
                self.refused.pop(name, None)
            except InvalidInput as error:
                self.refused[name] = InvalidInput(str(error))  # without what its traceback holds, such as locks
                in_hand = self.sweeps.get(name)
                known = "waits" if in_hand is None or in_hand.kept is None else "goes on as it was"
                self._teller.say_once(f"sweep {name} {known}: {error}")

    def _heed(self, sweep: LiveSweep, state: State, pool: TrialPool) -> None:
        """Pause, resume, end or try again what is in hand, whatever has become of its file."""
        if state == "cancelled" and sweep.state != state:
            self._cancel(sweep, pool)
        if sweep.state != state:
            sweep.state, sweep.why, self._order = state, None, None
        self._retry(sweep)

    def _look_at(self, kept: Kept, state: State) -> None:
        """Take in hand what a sweep is, by its file where that was edited; an edit is kept once it can be worked on."""
        edited = None
        try:
            edited = kept.edited()
            if edited is not None:
                check_kept(self._home, edited, edited.declared())
                self._see(edited, state)
        except InvalidInput:
            if edited is None or kept.sweep not in self.sweeps:
                self._see(kept, state)  # the old state goes on
            raise
        if edited is None:
            self._see(kept, state)
        elif read_kept(self._home, kept.sweep) == kept:  # else it was applied anew meanwhile
            keep(self._home, edited, edited.declared())
            self._wanted[kept.sweep] = edited, state

    def _see(self, kept: Kept, state: State) -> None:
        sweep = self.sweeps.get(kept.sweep)
        now = None if sweep is None or sweep.kept is None else (sweep.kept.text, sweep.kept.folder)
        if now is None and state == "cancelled":
            return
        if now != (kept.text, kept.folder):
            self._take(kept, sweep, state)

    def _take(self, kept: Kept, before: LiveSweep | None, state: State) -> None:
        """Make a sweep what it is now declared to be; a study that is as it was stays in hand.

        What could not be done when this raises `InvalidInput` is tried again at the next choice.
        """
        declared = kept.declared()
        standing = {} if before is None else before.studies
        new = []
        for study in declared.by_priority:
            live = standing.get(study.name)
            if live is None or live.study.declared != study:
                with self._progress.doing(f"reading data and drawing splits of {study.name}"):
                    prepared = prepare_study(declared.name, study, self._data_dir)
                with_owner(prepared, self._home)
                place = prepared.place(self._home, self._data_dir)
                share, _ = settle(place, self._progress)
                configs = [one.config for one in prepared.prepared.values()]
                check_nodes(self._home, files_of(configs), own_of(configs))
                new.append((prepared, place, share))
        sweep = before or LiveSweep(None, declared, Hours.kept(self._home, kept.sweep), state)
        self.sweeps[sweep.name], self._order = sweep, None
        wanted = {study.name for study in declared.studies}
        for name in [name for name in sweep.studies if name not in wanted]:
            self._conclude(sweep, sweep.studies.pop(name))
        for prepared, place, share in new:
            if prepared.name in sweep.studies:
                sweep.studies.pop(prepared.name).close()
            sweep.studies[prepared.name] = LiveStudy(prepared, place, share, self._progress)
            sweep.ended.pop(prepared.name, None)
        sweep.kept, sweep.declared = kept, declared

    def _retry(self, sweep: LiveSweep) -> None:
        for name, live in sweep.studies.items():
            if live.failed and live.try_again():
                self._order = None
                if live.is_closed:
                    sweep.studies[name] = LiveStudy(live.study, live.place, live.share, self._progress)
                    sweep.ended.pop(name, None)

    def _cancel(self, sweep: LiveSweep, pool: TrialPool) -> None:
        seconds = pool.seconds
        for folder in [folder for folder, held in self._in_hand.items() if held.sweep == sweep.name]:
            held = self._in_hand.pop(folder)
            pool.stop(folder)
            sweep.hours.ended(folder, held.share, seconds[folder], is_end=False)
            for live in self._live():
                live.give_back(folder)

    # what is started

    def _fill(self, pool: TrialPool, units: Units) -> None:
        if self._order is None:
            self._order = in_order(one for live in self._live() for one in live.candidates)
            self._put_off.clear()
        waiting = {one.folder for one in self._order if one.folder in self.sweeps[one.sweep].studies[one.study].waiting}
        units.total = units.done + len(waiting | self._in_hand.keys())
        for sweep in self.sweeps.values():
            sweep.why = None
        for candidate in list(self._order):
            sweep = self.sweeps[candidate.sweep]
            live = sweep.studies[candidate.study]
            if sweep.state != "running" or candidate.folder in self._in_hand or candidate.folder not in live.waiting:
                continue
            share = live.share_of(candidate.folder)
            if not pool.has_room(share):
                if not self._in_hand:
                    sweep.why = f"no node has {share.num_cpus:g} CPUs and {share.num_gpus or 0:g} GPUs for a trial"
                return
            may_start = self._may_start(candidate, sweep, live, pool)
            if self._has_measured:
                return
            if not may_start:
                continue
            self._start(candidate, live, pool, units)

    def _may_start(self, candidate: Candidate, sweep: LiveSweep, live: LiveStudy, pool: TrialPool) -> bool:
        cost = live.cost(candidate.folder)
        why = self._obstacle(sweep, cost, pool, resources_now().num_cpus)
        if why is not None:
            sweep.why = why
            return False
        one, _ = live.trials[candidate.folder]
        if one.known_id not in self._collected and not self._collect(candidate, sweep, live, pool):
            return False
        return self._fit_of(one) not in {held.fit for held in self._in_hand.values()} - {None}

    def _start(self, candidate: Candidate, live: LiveStudy, pool: TrialPool, units: Units) -> None:
        folder, share = candidate.folder, live.share_of(candidate.folder)
        one, _ = live.trials[folder]
        live.begin(folder)
        self._in_hand[folder] = InHand(candidate.sweep, share, one, live.cost(folder), self._fit_of(one))
        assert self._order is not None
        self._order.remove(candidate)
        units.begin(folder)
        pool.start(one, live.place, share)

    def _obstacle(self, sweep: LiveSweep, cost: Cost, pool: TrialPool, cluster_cpus: float) -> str | None:
        return obstacle(self._standing(sweep, pool), cost, now=datetime.now(UTC), cluster_cpus=cluster_cpus)

    def _standing(self, sweep: LiveSweep, pool: TrialPool) -> Standing:
        seconds = pool.seconds
        running, open_cores, open_gpus = [], 0.0, 0.0
        for folder, held in self._in_hand.items():
            if held.sweep == sweep.name:
                so_far = seconds.get(folder, 0.0)
                running.append(Cost(max(0.0, held.cost.seconds - so_far), held.cost.cpus, held.cost.gpus))
                not_noted = sweep.hours.open_seconds(folder, so_far)
                open_cores += not_noted * held.cost.cpus
                open_gpus += not_noted * held.cost.gpus
        spent = Spent(
            sweep.hours.core_seconds + open_cores,
            sweep.hours.gpu_seconds + open_gpus,
            sum(len(live.failed) for live in sweep.studies.values()),
        )
        return Standing(sweep.declared.limits, sweep.declared.on_failure, spent, running)

    def _fit_of(self, one: Prepared) -> str | None:
        """The û that the store lacks and this trial will fit."""
        if one.folder not in self._fits:
            self._fits[one.folder] = one.utility_key
        key = self._fits[one.folder]
        return None if key in self._fitted else key

    # what is measured first

    def _collect(self, candidate: Candidate, sweep: LiveSweep, live: LiveStudy, pool: TrialPool) -> bool:
        """Measure what the sweep's trials of this priority are known to need; of this seed alone where all is too much.

        Whether the trial may now be started.
        """
        which = (sweep.name, candidate.priority)
        if which in self._put_off:
            sweep.why = self._put_off[which]
            return False
        alike = [one for one in self._order or [] if (one.sweep, one.priority) == which]
        why = None
        for group in (alike, [one for one in alike if one.seed_place == candidate.seed_place]):
            why = self._collected_for(group, which, live, pool)
            if why is None:
                return True
        self._put_off[which] = sweep.why = f"measuring what the next trials need: {why}"
        return False

    def _collected_for(
        self, group: Iterable[Candidate], which: tuple[str, int], live: LiveStudy, pool: TrialPool
    ) -> str | None:
        """Why what `group` needs is not measured; None where it is, now or before."""
        device, sweep = live.study.declared.device, self.sweeps[which[0]]
        trials = [sweep.studies[one.study].trials[one.folder][0] for one in group if one.study in sweep.studies]
        missing = [one for one in trials if one.known_id not in self._collected]
        with self._progress.doing("looking up what the store has"):
            work = live.place.known_work(missing)
        if work.num_trainings or work.num_ot:
            share, limits = self._free(device), sweep.declared.limits
            if limits.core_hours is not None or limits.gpu_hours is not None or limits.deadline is not None:
                seconds, at_once = self._estimate(work, which, device).seconds(1), share.num_gpus or share.num_cpus
                cost = Cost(seconds / at_once, share.num_cpus, share.num_gpus or 0.0)
                why = self._obstacle(sweep, cost, pool, math.inf)  # a share of the cluster is for trials
                if why is not None:
                    return why
            pool.rest()
            told = f"collecting {work} of {sweep.name}"
            self._progress.say(told)
            with sweep.hours.holding("collection", share):
                collect(work, self._home, num_workers=None, device=device, progress=self._progress)
            self._has_measured = True
        self._collected |= {one.known_id for one in missing}
        return None

    def _estimate(self, work: Work, which: tuple[str, int], device: str) -> Forecast:
        """What `work` takes, by a few trainings of this sweep and priority that are timed once, and kept."""
        if which not in self._timed:
            with self.sweeps[which[0]].hours.holding("collection", Share(1.0, 0.0)):
                self._timed[which] = pilot(work, Store(self._home), device_here(device))
        return replace(self._timed[which], num_trainings=work.num_trainings, num_ot=work.num_ot)

    def _free(self, device: str) -> Share:
        """What a collection takes: the GPUs that no trial holds where there are any, with a CPU each, else the CPUs."""
        there, held = resources_now(), [one.share for one in self._in_hand.values()]
        cpus = max(1.0, there.num_cpus - sum(one.num_cpus for one in held))
        gpus = 0.0 if device == "cpu" else max(0.0, there.num_gpus - sum(one.num_gpus or 0.0 for one in held))
        return Share(min(cpus, gpus), gpus) if gpus else Share(cpus, 0.0)

    # what has ended

    def _end(self, ended: Ended, units: Units) -> None:
        folder, held = ended.one.folder, self._in_hand.pop(ended.one.folder)
        sweep = self.sweeps[held.sweep]
        sweep.hours.ended(folder, held.share, ended.seconds)
        self._put_off.clear()  # it may have left more than was expected
        larger = None
        if ended.failure is not None and ended.failure.cause == "memory":
            larger = held.share.doubled(resources_now())
        if ended.failure is None and held.fit is not None:
            self._fitted.add(held.fit)
        for live in self._live():
            live.end(folder, ended.failure, larger)
        if larger is not None:
            self._order = None
        else:
            self.num_run += 1
            units.advance(1)
        units.end(folder)
        for other in self.sweeps.values():
            for live in other.studies.values():
                if live.is_complete and not live.is_closed:
                    self._conclude(other, live)

    def _conclude(self, sweep: LiveSweep, live: LiveStudy) -> None:
        if not live.is_closed:
            ended = live.close()
            if ended is not None:
                sweep.ended[live.name] = ended

    def _live(self) -> list[LiveStudy]:
        return [live for sweep in self.sweeps.values() for live in sweep.studies.values() if not live.is_closed]

    def _tick(self, pool: TrialPool) -> None:
        self._note_hours(pool, is_end=False)
        self._teller.tell(self.sweeps, self._in_hand, pool.seconds)

    def _note_hours(self, pool: TrialPool, *, is_end: bool) -> None:
        for folder, seconds in pool.seconds.items():
            held = self._in_hand[folder]
            hours = self.sweeps[held.sweep].hours
            if is_end:
                hours.ended(folder, held.share, seconds, is_end=False)
            else:
                hours.running(folder, held.share, seconds)
