"""python -m benchmarks NAME [FLAGS]: what README's performance figures come from.

  training      sets per second on one thread: loops as people write them, ours one by one, ours stacked
  linear        logistic regressions per second: scikit-learn's in a loop, ours one by one, ours in stacks
  collection    one and two bare processes against one and two Ray Train workers; the second run
  growth        the store at 1e3 and 1e5 records; every strategy for pools of 1e4 to 1e6; memory over 1e2 to 1e4 sets
  search        what a search costs beside its work; TPE and a Gaussian process against random choice
  sweeps        what a sweep costs beside its trials; twenty kills of driver, workers, nodes and MLflow
  gpu           one by one against stacked on one device, K swept; needs torch, numpy and this checkout alone
  record        keeps finished studies of a home under benchmarks/records, for docs/results.md to quote
  all           the first six, on the embedded digits: what make bench runs

Each but record prints a table and writes benchmarks/NAME.json. Quote ratios: times are those of one machine on one day.
"""

import sys
from importlib import import_module

from rambo.errors import InvalidInput
from rambo.terminal import answer_from_now_on

MODULES = {name: name for name in ("training", "linear", "collection", "growth", "search", "sweeps", "gpu")}
MODULES["record"] = "recording"


def main(arguments: list[str]) -> None:
    """Run the benchmark that the first argument names."""
    answer_from_now_on()
    name = arguments[0] if arguments else ""
    if name in ("-h", "--help"):
        print(__doc__)
    elif name == "all":
        for each in list(MODULES)[:6]:
            import_module(f"benchmarks.{each}").main(arguments[1:])
    elif name in MODULES:
        import_module(f"benchmarks.{MODULES[name]}").main(arguments[1:])
    else:
        sys.exit(f"benchmarks: the first argument must be one of {', '.join(MODULES)} or all, got {name or 'none'}.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InvalidInput as error:
        sys.exit(f"benchmarks: {error}")
