"""Settings of the Django project in `django_academy`, whose application is that of the page."""

from __future__ import annotations

import os
from pathlib import Path

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["ACADEMY_FOLDER"], "academy.sqlite3"),
    }
}
INSTALLED_APPS = ["django_tasks", "django_tasks_db", "school.apps.SchoolConfig"]
SECRET_KEY = "of a test"
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
USE_TZ = True
