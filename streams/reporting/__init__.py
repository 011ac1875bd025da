"""Parts of the reporters that do not differ between the blocking and the asyncio one.

A report's call goes through `job_events`, which builds a `Prepared` event and reports `mistakes`,
then through its `pace`, then to the `delivery`, which retries, drops or spools. The asyncio
reporter puts an `outbox` of two threads before the delivery, and takes `turns` on the loop.
`steps` and `current` are for the words that workers use on top of a report.

No module here makes a reporter: `streams/reporter.py` and `streams/async_reporter.py` do.
"""
