"""Fair turns between tenants, and waits that end in time.

The room knows neither HTTP nor a store: endpoints bring the work that waits here.
"""
