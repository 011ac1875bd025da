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
            "time, and what happened to the deployment meanwhile. The part of an unavailable "
            "server is null.",
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
            description="Returns a tenant: its jobs, its failures, its delivery and its storage.",
        ),
    ]
