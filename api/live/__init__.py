"""Live streams: changes of one job, or of all jobs of a tenant, as Server-Sent Events.

How a change reaches a client::

    Redis Pub/Sub -> subscriptions.Subscriptions   one connection for this process
                  -> channels.Channel              one for each tenant with viewers
                  -> waiters.Waiter                one for each long poll and live stream
                  -> endpoint.LiveEndpoint         reads the state and writes it (sse)

A stream of all jobs of a tenant reads `tenant_feed.TenantFeed`, which reads the feed once for all
its viewers. Long polls (`api.progress`) use `subscriptions` and `waiters` too. This folder must not
import the endpoints of other folders.
"""
