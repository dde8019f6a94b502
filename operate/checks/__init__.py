"""Checks of `steward doctor`, one file per subject: a check changes nothing, its `fix_<check>` repairs."""
