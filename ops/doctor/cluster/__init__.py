"""The doctor's checks of a Redis Cluster, beside those of each of its servers."""
