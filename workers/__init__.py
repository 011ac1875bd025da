"""Reference workers that do real work and report it through the SDK."""
