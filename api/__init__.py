"""The HTTP API: it serves the projections, and never writes to them.

A request passes `access.request_guard` first, then `application` chooses its endpoint. The folders,
from the top down; each may import only those below it::

    server                       the process: socket, event loop, stop
    app                          the composition root
    application, other_routes    routing of requests
    spec                         the OpenAPI document, its page, the JavaScript client
    monitoring                   health checks and metrics
    operators, progress, jobs    endpoints, independent of each other
    live                         live streams and the waiting of long polls
    answers                      progress answers, rendered from documents
    access                       authentication, limits, CORS
    scheduling                   fairness and time limits of concurrent work
    metrics                      the metrics of the API
    http                         building blocks of HTTP answers

Must not be imported: `consumers` and everything that writes (appenders, writers of projections).
Operators' actions reach delivery through the protocol in `api.operators.operator_view`.
"""
