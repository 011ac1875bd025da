"""A Django project with a view of a job's row, and one of a Celery task's state.

Its answers are those of the product for the same jobs, with the same tokens. It has less than most
projects: one middleware, a model with only the columns of the answer, and persistent connections.
"""

from __future__ import annotations

import os
from typing import Any

import celery
import django
import jwt
from celery.result import AsyncResult
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from streams.settings import PREFIX

_DATABASE = conninfo_to_dict(os.environ[f"{PREFIX}DATABASE_URL"])

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": _DATABASE["dbname"],
            "USER": _DATABASE["user"],
            "PASSWORD": _DATABASE["password"],
            "HOST": _DATABASE["host"],
            "PORT": _DATABASE["port"],
            "CONN_MAX_AGE": None,
        }
    },
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # Content-Length
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY="of this benchmark alone",
    USE_TZ=True,
)
django.setup()

# Django must have its settings before its modules are imported.
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models  # noqa: E402
from django.http import Http404  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.exceptions import AuthenticationFailed  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

_SECRET = os.environ[f"{PREFIX}JWT_SECRET"]
_CELERY = celery.Celery(backend=os.environ[f"{PREFIX}REDIS_URL"])


class Job(models.Model):
    """A row of the product's table."""

    pk = models.CompositePrimaryKey("tenant", "kind", "id")
    tenant = models.TextField()
    kind = models.TextField()
    id = models.TextField()
    job_type = models.TextField(null=True)
    status = models.TextField()
    progress: models.Field[Any, Any] = models.Field(null=True)  # the driver decodes JSON
    attempt = models.BigIntegerField()
    updated_at = models.DateTimeField()

    class Meta:
        app_label = "bench"
        db_table = "jobs"
        managed = False


class BearerToken(BaseAuthentication):
    """Authentication with the tokens of the product."""

    def authenticate(self, request: Request) -> tuple[str, None]:
        """Return the tenant of the token."""
        _, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            return jwt.decode(token, _SECRET, algorithms=["HS256"])["tenant_id"], None
        except (jwt.InvalidTokenError, KeyError) as error:
            raise AuthenticationFailed from error


class RowView(APIView):
    """View that answers from a row of PostgreSQL."""

    authentication_classes = (BearerToken,)

    def get(self, request: Request, job_id: str) -> Response:
        """Answer with the job's progress."""
        try:
            job = Job.objects.get(tenant=request.user, kind="job", id=job_id)
        except Job.DoesNotExist:
            raise Http404 from None
        return Response(
            {
                "job_id": job.id,
                "job_type": job.job_type,
                "status": job.status,
                "progress": job.progress,
                "attempt": job.attempt,
                "updated_at": job.updated_at,
            }
        )


class TaskView(APIView):
    """View that answers from Celery's result backend."""

    authentication_classes = (BearerToken,)

    def get(self, request: Request, job_id: str) -> Response:  # noqa: ARG002 - a task id is enough
        """Answer with the latest state of the task."""
        task = AsyncResult(job_id, app=_CELERY)
        return Response({"job_id": job_id, "status": task.state, **task.info})


urlpatterns = [
    path("rows/<str:job_id>/", RowView.as_view()),
    path("tasks/<str:job_id>/", TaskView.as_view()),
]
application = get_wsgi_application()
