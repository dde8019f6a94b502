"""The secret that the servers of `steward up` demand: a file in the state directory that only its owner can read.

Whoever has it can run programs as this user, as deployments name code. It is passed on in environments and headers
only: never in arguments, logs or messages.
"""

import os
import secrets
import stat
from pathlib import Path

FILE_NAME = "api_secret"
# The name that belongs to the secret where a client wants a user and a password.
USER = "steward"
# Random bytes; as text, four characters for three of them.
LENGTH, MIN_CHARACTERS = 32, 43


def ensure_api_secret(state_dir: Path) -> str:
    """Return the secret, generating it where there is none, or where another user could have read it.

    For the process that holds the lock of `steward up`: two processes would generate two.
    """
    secret = read_api_secret(state_dir)
    if secret and not privacy_problem(state_dir):
        return secret
    secret = secrets.token_urlsafe(LENGTH)
    temporary = state_dir / f".{FILE_NAME}-{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(state_dir / FILE_NAME)
    finally:
        temporary.unlink(missing_ok=True)
    return secret


def read_api_secret(state_dir: Path) -> str | None:
    """Return the secret; None if there is none that could be one, or this user may not read it."""
    try:
        secret = (state_dir / FILE_NAME).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return secret if len(secret) >= MIN_CHARACTERS else None


def privacy_problem(state_dir: Path) -> str | None:
    """Describe how another user could read or replace the secret; None if none can, or if there is no file."""
    try:
        status = (state_dir / FILE_NAME).lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_uid != os.geteuid():
        return f"belongs to user {status.st_uid}"
    if (mode := stat.S_IMODE(status.st_mode)) & 0o077:
        return f"can be used by others (mode {mode:04o})"
    return None


def auth_string(secret: str) -> str:
    """Return user and password, the form in which Prefect's clients take it (PREFECT_API_AUTH_STRING)."""
    return f"{USER}:{secret}"
