"""The OpenAPI descriptions of operators' operations about figures, charts, tenants and alerts.

Used by `api.spec.operations.all_operations`.
"""

from __future__ import annotations

from api.operators.figures.jobs import SPANS
from api.operators.figures.tenants import MAX_TENANTS, ORDERS
from api.spec.models import operator_figures as models
from api.spec.operations.operation import Operation, parameter
from api.spec.operations.operator_operation import CURSOR, TENANT_SCHEMA, choice, limit, read, text


def figure_operations() -> list[Operation]:
    """Return all operations about figures."""
    return [*_over_time(), *_tenants()]


def _over_time() -> list[Operation]:
    return [
        read(
            "getOpsFigures",
            "/figures/",
            "Retrieve the figures of jobs",
            models.Figures,
            description="Returns how many jobs are in each state now, what happened to jobs in the "
            "last hour, the same for each type with its error codes and its times to finish, and "
            "the jobs that have been running the longest. An answer is kept for 4 s at least.",
        ),
        read(
            "getOpsCharts",
            "/charts/",
            "Retrieve charts",
            models.Charts,
            choice("span", "The span of time until now.", list(SPANS)),
            description="Returns the numbers of jobs and the delivery of the groups over a span of "
            "time, and what happened to the deployment meanwhile. Samples of more than an hour "
            "have the highest values of their minute. The part of an unavailable server is null.",
        ),
        read(
            "listOpsIssues",
            "/issues/",
            "List the issues of the last day",
            models.IssueList,
            description="Returns what was wrong in the last 24 hours, from when to when, and whom "
            "it concerned. It is derived from the samples of delivery and the figures of jobs, "
            "whose times are exact to 10 s in the last hour and to a minute before. An answer is "
            "kept for 20 s at least.",
        ),
        read(
            "listOpsAlerts",
            "/alerts/",
            "List alerts",
            models.AlertList,
            description="Returns the pending and firing alerts of the Prometheus that "
            "`JOBTRAIL_PROMETHEUS_URL` names, if one is configured.",
        ),
    ]


def _tenants() -> list[Operation]:
    return [
        read(
            "listOpsTenants",
            "/tenants/",
            "List tenants",
            models.TenantList,
            choice("order", "The order of the tenants.", list(ORDERS)),
            text("name", "Only return tenants whose name contains this text."),
            limit(MAX_TENANTS),
            CURSOR,
            description="Returns tenants, those with the most activity, lag, failures, jobs or "
            "stored results first. With `order=lag`, returns only the tenants that are behind.",
        ),
        read(
            "getOpsTenant",
            "/tenants/{tenant}/",
            "Retrieve a tenant",
            models.TenantDetail,
            parameter("tenant", "path", "The tenant.", TENANT_SCHEMA),
            description="Returns a tenant: its jobs, its failures, its delivery, its storage, its "
            "last hour, and the types and workers of the jobs of the last ten minutes. The last "
            "hour is known of the 100 most active tenants of each minute, and of the 100 that "
            "were furthest behind.",
        ),
    ]
