"""Stages: one file each, which never import one another; they share the store, the settings and `ml`."""
