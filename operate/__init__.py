"""Operator commands, one file each. Heavy libraries are imported inside functions, so that `steward --help` is fast."""
