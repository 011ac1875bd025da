"""`python -m benchmarks [NAME...] [--scale S]`: the product and its limits, in one run.

`python -m benchmarks plot` draws the plots of the last results, `python -m benchmarks table` prints
them as the table of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import (
    append,
    beside_faststream,
    cluster,
    console,
    contention,
    coroutines,
    delivery,
    fairness,
    feed,
    latency,
    listing,
    memory,
    prediction,
    reading,
    rebuild,
    replay,
    roster,
    rows,
    sharing,
    sizes,
    startup,
    storm,
    tenants,
)
from benchmarks.peers import bullmq, celery_results, polling
from benchmarks.quiet import Witness, doubt
from benchmarks.report import RESULTS, Figure, machine, markdown, print_table, write_json
from benchmarks.servers import DURABILITY, Bench
from consumers.garbage_collector import tune_collector
from streams import logging_setup
from streams.settings import Settings

BENCHMARKS: Mapping[str, Callable[[Bench], list[Figure]]] = {
    "append_one": append.append_one,
    "append_many": append.append_many,
    "coroutines": coroutines.coroutines,
    "status": delivery.status,
    "rows": rows.rows,
    "contention": contention.contention,
    "faststream": beside_faststream.faststream,
    "progress": reading.progress,
    "drf": polling.polling,
    "celery": celery_results.celery_results,
    "bullmq": bullmq.bullmq,
    "query": reading.query,
    "feed": feed.feed,
    "storm": storm.storm,
    "listing": listing.listing,
    "console": console.console,
    "latency": latency.latency,
    "tenants": tenants.idle_and_spread,
    "fairness": fairness.fairness,
    "sharing": sharing.sharing,
    "cluster": cluster.cluster,
    "memory": memory.memory,
    "bytes": sizes.held_bytes,
    "size": prediction.prediction,
    "startup": startup.startup,
    "replay": replay.replay,
    "rebuild": rebuild.rebuild,
    "roster": roster.roster,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--scale", type=float, default=1.0, help="size of the run; 0.1 is quick")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the JSON to write")
    given = parser.parse_args(arguments)
    if given.names in (["plot"], ["table"]):
        show(given.names[0], given.results)
        return
    if unknown := set(given.names) - BENCHMARKS.keys():
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: take {', '.join(BENCHMARKS)}")
    if not 0 < given.scale <= 100:
        parser.error("the scale must be over 0 and at most 100")
    logging_setup.configure(Settings(log_level="error"))
    tune_collector()  # as consumer processes do; limits are measured with the same setting
    run(given.names or list(BENCHMARKS), given.scale, given.results)


def show(what: str, results: Path) -> None:
    """Draw the plots, or print the table, of results that were written before."""
    if what == "table":
        print(markdown(results))
        return
    from benchmarks.plots import PLOTS, draw  # noqa: PLC0415 - nothing is measured beside matplotlib

    for path in draw(results, PLOTS):
        print(path)


def run(names: Sequence[str], scale: float, results: Path) -> None:
    """Measure, and print and write the results."""
    console, facts = Console(stderr=True), machine()
    figures: list[Figure] = []
    with Bench(scale) as bench:
        facts |= bench.facts()
        for name in names:
            started = time.monotonic()
            with console.status(f"measuring {name}"):
                figures += measured(name, bench)
            console.print(f"measured {name} in {time.monotonic() - started:.0f} s")
    title = (
        f"{facts['cores']} cores, Python {facts['python']}, Redis {facts['redis']}, "
        f"PostgreSQL {facts['postgres']}; {DURABILITY}; scale {scale:g}"
    )
    facts["load_after"] = machine()["load"]
    print_table(figures, title)
    write_json(figures, facts, scale, results)
    console.print(f"written to {results}")


def measured(name: str, bench: Bench) -> list[Figure]:
    """Run one benchmark; mark figures that are in doubt because the machine was busy."""
    witness = Witness()
    figures = BENCHMARKS[name](bench)
    others = witness.others()
    return [
        replace(figure, doubt=doubt(others, figure.rounds)) if figure.timed else figure
        for figure in figures
    ]


if __name__ == "__main__":
    main()
