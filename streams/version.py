"""The version of both distributions, the worker's package and the service. Used by both."""

__version__ = "0.1.0"
