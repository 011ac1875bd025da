"""The thresholds of Python's garbage collector in processes that handle events in batches.

Used by `consumers.composition` and `ops.tasks.replay.servers`.
"""

from __future__ import annotations

import gc


def tune_collector() -> None:
    """Run the garbage collector less often.

    A batch is tens of thousands of small objects that form no cycles and live until the batch is
    acknowledged. With the default thresholds, searching them for cycles takes a third of the time
    or more. The first threshold exceeds the objects of a usual batch; with the others, a search of
    all objects is practically never made (decision 0057).
    """
    # Imported modules live as long as the process: no search includes them.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
