"""The read side over HTTP. It serves projections only."""
