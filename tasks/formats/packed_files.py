"""Open text files that may be packed by gzip, bzip2 or zip; what is unpacked is bounded, and nothing is written."""

import bz2
import gzip
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ml.errors import DataGateError
from tasks.formats.file_names import PACKED, has_known_ending, packing, plain_name, unpacked_name
from tasks.formats.read_limits import LimitedFile, Readable, ReadLimits


@dataclass(frozen=True)
class TextFile:
    """A text file; `open` opens it from its start, each time it is called. `name` is that of the packed file.

    `content_name` is the name of what is packed, by whose ending the format is known.
    """

    name: str
    content_name: str
    open: Callable[[], io.BufferedReader]


@contextmanager
def text_file(path: Path, limits: ReadLimits, zeros: bool = False) -> Iterator[TextFile]:
    """Yield the one text file in `path`. Raises DataGateError for an archive with several, and past a limit.

    `zeros`: whether bytes of 0 may be in the text, as in encodings whose characters have several bytes.
    """
    packed = path.stat().st_size

    def limited(file: Readable) -> io.BufferedReader:
        return io.BufferedReader(LimitedFile(file, path.name, packed, limits, zeros))

    ending = packing(path.name)
    if ending != ".zip":
        openers: dict[str, Callable[[], Readable]] = {
            ".gz": lambda: gzip.GzipFile(path),
            ".bz2": lambda: bz2.BZ2File(path),
        }
        opener = openers.get(ending, lambda: path.open("rb"))
        # What is not packed is as large as the file.
        yield TextFile(path.name, unpacked_name(path.name), lambda: limited(opener()))
        return
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            raise _several_members(path.name, members)
        limits.check_unpacked_size(path.name, members[0].file_size, packed)
        # Its name is used for its ending only: a path in it leads nowhere.
        yield TextFile(path.name, members[0].filename, lambda: limited(archive.open(members[0])))


def _several_members(name: str, members: Sequence[zipfile.ZipInfo]) -> DataGateError:
    """Return the error about an archive that has not one file; names of its files may be cells, known endings not."""
    if not members:
        return DataGateError(f"one file in the archive {name}", "none", "pack a file with data")
    known = [PurePosixPath(m.filename).suffix.lower() for m in members if has_known_ending(m.filename)]
    endings = Counter(ending for ending in known if ending not in PACKED)
    kinds = [f"{count} {ending}" for ending, count in sorted(endings.items())]
    if others := len(members) - endings.total():
        kinds.append(f"{others} other")
    folder = plain_name(name)
    ending = endings.most_common(1)[0][0] if endings else ""
    return DataGateError(
        f"one file in the archive {name}",
        f"{len(members)} ({', '.join(kinds)})",
        f"unpack it by `python -m zipfile -e {name} {folder}`, then give the file that you mean,"
        f" or all of them by --data '{folder}/**/*{ending}', which stacks them in the order of their names",
    )
