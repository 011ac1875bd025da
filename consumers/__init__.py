"""Delivery: ready queue, group commands, runner, dead letters, sweep, metrics."""
