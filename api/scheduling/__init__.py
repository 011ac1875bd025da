"""Concurrency control: fairness between tenants, and waits with a time limit.

Endpoints of all folders use it. It knows neither HTTP nor a store: callers pass in the work.
"""
