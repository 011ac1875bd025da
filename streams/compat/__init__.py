"""Old calls: workers that wrote Redis keys change one import, and append events instead.

    from jobtrail.compat import RedisProgressAdapter, VideoProgressAdapter, cache_job_status

Names and signatures are those of the modules that such workers used. A call goes through the bridge
of its process to the reporter; readers read the documents of the projection. `reading` and
`progress` never raise errors of Redis. Used by applications, and by `streams/integrations`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import importer

if TYPE_CHECKING:
    from .bridge import Bridge, use
    from .progress import TTL_SECONDS, RedisProgressAdapter, VideoProgressAdapter
    from .reading import (
        StepDetail,
        get_job_status,
        get_job_status_from_redis,
        get_video_encoding_progress,
        get_video_encoding_remaining_seconds,
        get_video_encoding_step_detail,
        get_video_status,
        get_video_status_from_redis,
        is_reflected,
    )
    from .states import (
        Outcome,
        VideoCalls,
        cache_job_status,
        cache_video_status,
        refresh_job_progress_ttl,
        refresh_video_progress_ttl,
    )

__all__ = [
    "TTL_SECONDS",
    "Bridge",
    "Outcome",
    "RedisProgressAdapter",
    "StepDetail",
    "VideoCalls",
    "VideoProgressAdapter",
    "cache_job_status",
    "cache_video_status",
    "get_job_status",
    "get_job_status_from_redis",
    "get_video_encoding_progress",
    "get_video_encoding_remaining_seconds",
    "get_video_encoding_step_detail",
    "get_video_status",
    "get_video_status_from_redis",
    "is_reflected",
    "refresh_job_progress_ttl",
    "refresh_video_progress_ttl",
    "use",
]

__getattr__ = importer(
    __name__,
    {
        "bridge": "Bridge use",
        "progress": "TTL_SECONDS RedisProgressAdapter VideoProgressAdapter",
        "reading": (
            "StepDetail get_job_status get_job_status_from_redis get_video_encoding_progress"
            " get_video_encoding_remaining_seconds get_video_encoding_step_detail"
            " get_video_status get_video_status_from_redis is_reflected"
        ),
        "states": (
            "Outcome VideoCalls cache_job_status cache_video_status refresh_job_progress_ttl"
            " refresh_video_progress_ttl"
        ),
    },
)
