"""Faults of simulated batches on demand: by name, from a seed, as a table or as the bytes of a CSV file."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ml.simulators import table_faults
from ml.simulators.log_faults import LOG_FAULTS
from ml.simulators.message_faults import MESSAGE_FAULTS
from ml.simulators.table_faults import COLUMNS, Damage

TABLE_FAULTS: Mapping[str, Damage] = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        table_faults.null_spike,
        table_faults.swapped_columns,
        table_faults.unit_change,
        table_faults.shifted_decimal,
        table_faults.duplicated_rows,
        table_faults.target_leak,
        table_faults.future_times,
        table_faults.late_column,
        table_faults.stale_data,
        table_faults.vanished_category,
        table_faults.vanished_group,
        table_faults.label_noise,
        table_faults.flipped_labels,
        table_faults.one_class,
        table_faults.infinities,
        table_faults.unbounded_categories,
        table_faults.covariate_drift,
        table_faults.concept_drift,
        table_faults.biased_labels,
    )
}


def _encoding_damage(content: bytes) -> bytes:
    """Write the cells of a file, with accents, in another encoding than the contract reads."""
    header, _, cells = content.decode().partition("\n")
    return f"{header}\n{cells.replace('e', 'é')}".encode("latin-1", "replace")


def _truncated_file(content: bytes) -> bytes:
    """Cut the file in the middle of a row, as where a transfer broke off."""
    middle = content.rindex(b",", 0, len(content) // 2)
    return content[:middle]


FILE_FAULTS = {"encoding-damage": _encoding_damage, "truncated-file": _truncated_file}
FAULTS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(COLUMNS, (*TABLE_FAULTS, *FILE_FAULTS)),
    "shop": (*LOG_FAULTS, *FILE_FAULTS),
    "mailbox": (*MESSAGE_FAULTS, *FILE_FAULTS),
}


def faulty_table(rows: pd.DataFrame, simulator: str, fault: str, seed: int) -> pd.DataFrame:
    """Put a fault, not of the file, into a clean table of a simulator; the same seed gives the same table."""
    rng = np.random.default_rng(seed)
    if simulator in COLUMNS:
        return TABLE_FAULTS[fault](rows, COLUMNS[simulator], rng)
    return (LOG_FAULTS if simulator == "shop" else MESSAGE_FAULTS)[fault](rows, rng)


def faulty_file(rows: pd.DataFrame, simulator: str, fault: str, seed: int) -> bytes:
    """Return the bytes of a CSV file with one of the `FAULTS` of a simulator."""
    if fault in FILE_FAULTS:
        return FILE_FAULTS[fault](rows.to_csv(index=False).encode())
    return faulty_table(rows, simulator, fault, seed).to_csv(index=False).encode()
