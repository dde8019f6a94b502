"""A limit for everything that tests wait for."""

# Seconds. Far beyond what a busy machine needs: only what never happens reaches it, and fails instead of waiting on.
GUARD = 1200
