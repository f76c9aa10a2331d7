"""One trial in a process of its own: an experiment into its folder, or why there is none."""

import ctypes
import gc
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cluster.failures import Failure, keep_failure, unforeseen
from rambo.cli import choose_device
from rambo.config import Config
from rambo.errors import ClassifierFailed, FitCollapsed, InvalidInput, StrategyFailed, require
from rambo.experiment import Lab, run
from rambo.formats import first_line
from rambo.home import Home
from rambo.own import look_in
from rambo.preparation import prepare
from rambo.progress import Progress
from rambo.result import read_result
from rambo.store import Store

_stores: dict[str, Store] = {}
"""Of this process, by home: a trial that follows another in it need not read the store anew."""


def run_one(folder: str, config: Config, place: Mapping[str, str]) -> Failure | None:
    """One experiment into its `folder`, in this process, unless it has a result; why it failed, None if it did not.

    `place` is what `described` gives. What becomes of the trial stands in its folder and in the ledger.
    """
    home = Home(place["home"])
    store = _stores.setdefault(home.root, Store(home, compact=False))
    if read_result(home, folder) is not None:
        return None
    _enter(home, place["ledger"], folder, "start")
    failure = _attempt(folder, config, store, place)
    if failure is None:
        home.remove(f"{folder}/failure.json")
    else:
        keep_failure(home, folder, failure)
    _enter(home, place["ledger"], folder, failure.cause if failure else "done")
    _give_memory_back()
    return failure


def _give_memory_back() -> None:
    """glibc keeps what a thread has freed: 100 MB a trial on MNIST."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other C libraries have no such call
        ctypes.CDLL(None).malloc_trim(0)


def _attempt(folder: str, config: Config, store: Store, place: Mapping[str, str]) -> Failure | None:
    import torch

    lab = Lab(store.home, Path(place["data_dir"]), choose_device(place["device"]), Progress(quiet=True), store=store)
    look_in(json.loads(place["own"]))
    try:
        prepared = prepare(config, lab.data_dir)
        require(
            prepared.folder == folder,
            "A trial must read what its command has read, got other data, other weights or another file of a strategy "
            f"or classifier: {prepared.folder} instead of {folder}; give the command again.",
        )
        run(prepared, lab)
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Failure("memory", f"it ran out of memory ({first_line(error)})")
    except FitCollapsed as error:
        return Failure("collapsed", str(error))
    except (StrategyFailed, ClassifierFailed) as error:
        return Failure("error", str(error))
    except InvalidInput as error:  # the configuration was checked before: it is the disk or the like
        return Failure("refused", str(error))
    except Exception as error:  # one broken trial must not stop the others; its failure says where it broke
        return unforeseen(error)
    return None


def _enter(home: Home, ledger: str, folder: str, event: str) -> None:
    entry = {"event": event, "trial": folder, "time": time.time(), "process": os.getpid()}
    home.append(ledger, (json.dumps(entry) + "\n").encode())
