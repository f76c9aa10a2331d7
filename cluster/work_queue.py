"""The queue of a collection. It imports nothing heavy: the process it lives in should start at once."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class QueueState:
    """How far a collection is."""

    num_done: int
    """Sets of finished batches."""
    num_at_work: int
    """Workers with a batch in hand."""
    failure: str | None
    """What the user must mend, if anything went wrong."""
    troubles: tuple[str, ...] = ()
    """Why some sets could not be had, each sentence once."""

    @property
    def has_begun(self) -> bool:
        """Whether workers have taken anything, or shall not."""
        return self.num_done > 0 or self.num_at_work > 0 or self.failure is not None


class WorkQueue:
    """Hands batches to whoever asks, so that a fast worker takes more; lives in a process of its own.

    Workers come and go in groups. What a former group had in hand when it ended is handed out again. A queue that was
    itself started again hands out everything once more: a worker skips what the store holds.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._waiting = list(range(len(sizes)))[::-1]
        self._in_hand: dict[int, int] = {}  # worker -> batch
        self._done: set[int] = set()
        self._group = ""
        self._former: set[str] = set()
        self._failure: str | None = None
        self._troubles: dict[str, None] = {}

    def take(self, group: str, worker: int) -> int | None:
        """The next batch for `worker` of `group`, or None when there is nothing left for it to do.

        A worker that asks again before it has finished gets the same batch: its call may have been repeated for it.
        """
        if group in self._former:
            return None
        if group != self._group:
            self._begin(group)
        if worker not in self._in_hand:
            if self._failure is not None or not self._waiting:
                return None
            self._in_hand[worker] = self._waiting.pop()
        return self._in_hand[worker]

    def _begin(self, group: str) -> None:
        self._former.add(self._group)
        self._waiting += sorted(self._in_hand.values(), reverse=True)
        self._in_hand, self._group = {}, group

    def finish(self, group: str, worker: int, batch: int, troubles: Sequence[str] = ()) -> None:
        """`batch`, which `worker` of `group` had in hand, is in the store, but for what met `troubles`."""
        self._troubles |= dict.fromkeys(troubles)
        self._done.add(batch)
        if batch in self._waiting:
            self._waiting.remove(batch)
        if group == self._group and self._in_hand.get(worker) == batch:
            del self._in_hand[worker]

    def fail(self, sentence: str) -> None:
        """Nothing more is handed out: `sentence` says what the user must mend."""
        self._failure = self._failure or sentence

    def state(self) -> QueueState:
        """How far the collection is."""
        num_done = sum(self._sizes[batch] for batch in self._done)
        return QueueState(num_done, len(self._in_hand), self._failure, tuple(self._troubles))
