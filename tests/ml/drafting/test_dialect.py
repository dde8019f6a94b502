"""How a text file is written is found from its first bytes."""

import pytest

from ml.drafting.dialect import find_dialect, find_encoding, has_header
from ml.errors import UsageError

ROWS = [["age", "name"], *([str(20 + i), f"person {i % 7}"] for i in range(50))]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_the_one_that_divides_all_lines_equally(separator: str) -> None:
    text = "\n".join(separator.join(row) for row in ROWS)
    dialect = find_dialect(text.encode())
    assert (dialect.separator, dialect.header, dialect.strip) == (separator, True, False)
    assert dialect.names == ("age", "name")


def test_names_are_those_that_readers_find() -> None:
    """Line ends and blank lines are part of quoted names, and so are signs that are line ends elsewhere."""
    rows = '\r\n"a\n\nb","c\u2028d",e\x0bf\r\n' + "1,2,3\r\n" * 50
    assert find_dialect(rows.encode()).names == ("a\n\nb", "c\u2028d", "e\x0bf")


def test_a_cell_that_is_too_long_for_the_dialect_is_no_end() -> None:
    long = "x" * 200_000
    assert find_dialect(f"id,text\n1,a\n2,{long}\n3,b\n".encode()).names == ("id", "text")
    with pytest.raises(UsageError, match="a first line with the names of columns; got a longer one"):
        find_dialect(f"{long},text\n1,a\n".encode())


def test_commas_in_sentences_do_not_divide_cells() -> None:
    lines = ["text;label", *(f'"a, b{"," * (i % 3)} c";{i % 2}' for i in range(40))]
    assert find_dialect("\n".join(lines).encode()).separator == ";"


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas_do_not_divide_cells(separator: str) -> None:
    rows = [[f"{i % 7},{i % 10}", f"1.{i:03},{i % 9}", f"x{i % 3}"] for i in range(300)]
    text = "\n".join(separator.join(row) for row in [["a", "b", "c"], *rows])
    found = find_dialect(text.encode())
    assert (found.separator, found.header, found.names) == (separator, True, ("a", "b", "c"))
    assert "header" not in found.doubts
    without = find_dialect("\n".join(separator.join(row[:2]) for row in rows).encode())
    assert (without.separator, without.header) == (separator, False)


def test_semicolons_inside_of_cells_do_not_divide_them() -> None:
    rows = [f"{i},{i % 5};{i % 3},x;y" for i in range(100)]
    assert find_dialect("\n".join(["a,b,c", *rows]).encode()).separator == ","


def test_cells_may_be_padded_after_the_separator() -> None:
    dialect = find_dialect(b"39, State-gov, 77516\n50, Private, 83311\n38, Private, 215646\n")
    assert (dialect.separator, dialect.header, dialect.strip) == (",", False, True)
    assert dialect.names == ("column_1", "column_2", "column_3")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["a", "b"], ["1", "x"], ["2", "y"]], True),
        ([["1", "x"], ["2", "y"]], False),
        # A number may be the name of a column without numbers.
        ([["uid", "3"], ["0", "cart"], ["1", "cart"]], True),
        ([["", "bad"], ["1", "0"], ["2", "1"]], True),
        # A row of categories, of which others are repeated.
        ([["red", "big"], ["blue", "big"], ["red", "small"]], False),
        ([["text", "intent"], ["where is my card", "card"], ["pay me", "refund"]], True),
        # Two columns of one name are a header, which the reader refuses.
        ([["a", "a"], ["1", "2"], ["3", "4"]], True),
    ],
)
def test_header(rows: list[list[str]], expected: bool) -> None:
    assert has_header(rows)[0] is expected


def test_a_header_without_numbers_below_it_is_doubtful() -> None:
    assert has_header([["text", "intent"], ["where", "card"], ["pay", "refund"]])[1]
    assert not has_header([["a"], ["1"], ["2"]])[1]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("name\nJosé\n", "utf-8"),
        ("name\nJosé\n", "cp1252"),
        ("名字,评价\n" + "味道很好送餐也快,好\n" * 5, "gb18030"),
        ("name\nJosé\n", "utf-16"),
    ],
)
def test_encoding(text: str, encoding: str) -> None:
    found, doubt = find_encoding(text.encode(encoding))
    assert found == encoding
    assert bool(doubt) is (encoding in ("cp1252", "gb18030"))


def test_a_character_that_is_cut_is_no_other_encoding() -> None:
    assert find_encoding("José".encode()[:-1])[0] == "utf-8"
    assert find_encoding(b"a\x81b")[0] == "latin-1"


def test_lines_of_items() -> None:
    sequences = "\n".join(f"{user} " + " ".join(str(i) for i in range(3 + user % 4)) for user in range(30))
    found = find_dialect(sequences.encode(), is_log=True)
    assert (found.format, found.separator, found.names) == ("sequences", " ", ("user", "item"))
    baskets = "\n".join(",".join(["milk", "bread", "tea", "rice"][: 1 + i % 4]) for i in range(30))
    found = find_dialect(baskets.encode(), is_log=True)
    assert (found.format, found.separator, found.names) == ("baskets", ",", ("basket", "item"))


def test_an_empty_file_has_no_columns() -> None:
    assert find_dialect(b"").names == ()
    assert find_dialect(b"\n \n").names == ()
