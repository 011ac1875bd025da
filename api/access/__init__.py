"""Decisions on who may ask, from where, and how much, before any endpoint runs.

Every request passes through `request_guard` first. The room uses `api.http` and knows no endpoint,
no projection and no document.
"""
