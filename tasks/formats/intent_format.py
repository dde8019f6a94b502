"""Read messages by intent from JSON, as in the NLU benchmark of Snips: one row for each message.

`{"PlayMusic": [{"data": [{"text": "play "}, {"text": "jazz", "entity": "genre"}]}, ...]}`: the texts of the parts of a
message, joined, are the message.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ml.contract.read_options import ReadOptions
from ml.errors import DataGateError
from tasks.formats.file_content import FileContent, check_cells, clean_cells, unreadable_error
from tasks.formats.packed_files import TextFile
from tasks.formats.read_limits import ReadLimits

# The file is parsed as a whole, into objects that need about ten times its size.
MAX_BYTES = 64_000_000
BYTE_ORDER_MARK = "\ufeff"


def read_intents(file: TextFile, options: ReadOptions, limits: ReadLimits) -> FileContent:
    """Read the intent and the text of each message into the contract's two columns, in the order of the file.

    Bytes that are no text in the contract's encoding, and lone surrogates, become U+FFFD: they are faults of single
    messages, which validation quarantines. Raises DataGateError for a file that has another form.
    """
    name = file.name
    with file.open() as opened:
        data = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataGateError(
            f"at most {MAX_BYTES // 10**6} MB in {name}, which is parsed as a whole",
            "more",
            "divide the file, or convert it to Parquet",
        )
    text = data.decode(options.encoding, errors="replace").removeprefix(BYTE_ORDER_MARK)
    try:
        messages = list(_messages(json.loads(text)))
    except json.JSONDecodeError:
        raise unreadable_error(name, options, "text that is no JSON, or that ends too early") from None
    except RecursionError:
        raise unreadable_error(name, options, "JSON that is nested too deeply") from None
    except (TypeError, KeyError, AttributeError):
        raise unreadable_error(
            name,
            options,
            "JSON that is no object of intents, each with a list of messages of parts with texts",
        ) from None
    if not messages:
        raise unreadable_error(name, options, "no message")
    limits.check_rows(name, len(messages))
    columns = [pa.array([_valid(row[k]) for row in messages], pa.string()) for k in range(2)]
    for column in columns:
        check_cells(name, column, limits)
    schema = pa.schema([(column, pa.string()) for column in options.file_columns])
    batch = clean_cells(pa.RecordBatch.from_arrays(columns, schema=schema), options)
    return FileContent.of(pa.Table.from_batches([batch], schema), schema.names, options)


def _messages(value: Any) -> Iterator[tuple[str, str]]:
    """Yield intent and text of each message. Raises TypeError, KeyError or AttributeError for another form."""
    for intent, messages in value.items():
        if not isinstance(messages, list):
            raise TypeError
        for message in messages:
            yield intent, "".join(part["text"] for part in message["data"])


def _valid(text: str) -> str:
    """Replace lone surrogates, which JSON can write as escapes and which are no text."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
