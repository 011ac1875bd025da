"""`python -m tests.chaos`: chaos for as long as wanted; exit status 1 where anything was amiss."""

from __future__ import annotations

import argparse
import secrets
import sys

from tests.chaos.faults import FAULTS, schedule
from tests.chaos.run import Options, run

ROUNDS = 1_000
"""More than there is time for."""


def main() -> int:
    """Run and print the closing figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long faults go on")
    parser.add_argument("--events", type=int, default=500_000, help="events to append, about")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="to run it again")
    parser.add_argument("--consumers", type=int, default=2, help="processes of each group")
    parser.add_argument("--servers", choices=FAULTS, default="standalone", help="what is faulty")
    parser.add_argument(
        "--kill-at-ack",
        type=int,
        default=0,
        metavar="N",
        help="only this: kill N consumers between commit and acknowledgement",
    )
    given = parser.parse_args()
    _say(f"seed {given.seed}")
    options = Options(
        seed=given.seed,
        events=given.events,
        seconds=given.minutes * 60,
        planned=[] if given.kill_at_ack else schedule(given.seed, ROUNDS, 4, given.servers),
        consumers=given.consumers,
        servers=given.servers,
        kill_at_ack=given.kill_at_ack,
    )
    report = run(options, _say)
    _say("\n".join(report.lines()))
    return 1 if report.violations else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
