"""The header of CSV: delimiters, names of columns, columns of other programs, and messages."""

from io import BytesIO

import pytest

from app.books.schemas import BookLine
from app.core.formats import MAX_LINE_LENGTH, InvalidLine, ParsedLine, ReadOptions, parse_lines

ILIAD = {"author": "Homer", "dob": None, "title": "Iliad"}


def read_books(content: bytes, options: ReadOptions | None = None) -> list[dict[str, object]]:
    """Return the books of a CSV file, all of whose lines are valid."""
    books = []
    for line in parse_lines("csv", BookLine, BytesIO(content), options or ReadOptions()):
        assert isinstance(line, ParsedLine)
        books.append(line.item.model_dump())
    return books


def read_error(content: bytes, options: ReadOptions | None = None) -> str:
    """Return the message of the error for a header that is not correct."""
    with pytest.raises(ValueError, match=r"^(line|it is)") as error:
        list(parse_lines("csv", BookLine, BytesIO(content), options or ReadOptions()))
    return str(error.value)


# Delimiters


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header",
    [
        "author{}dob{}title",
        '"author"{}"dob"{}"title"',
        '"author"{}dob{} TITLE ',
        "AUTHOR{}Dob{}Title",
    ],
)
def test_delimiter_is_recognized_from_header(header: str, delimiter: str) -> None:
    content = header.replace("{}", delimiter) + f"\nHomer{delimiter}{delimiter}Iliad\n"
    assert read_books(content.encode()) == [ILIAD]


def test_delimiters_inside_quoted_column_names_are_not_counted() -> None:
    content = b'"author, first name, last name";"a,b,c,d";title\nHomer;1,2,3,4;Iliad\n'
    options = ReadOptions({"author": "Author, first name, last name"})
    assert read_books(content, options) == [ILIAD]


def test_delimiter_that_gives_the_wanted_columns_is_preferred() -> None:
    content = b"title|author|size, weight, color, price; currency\nIliad|Homer|1\n"
    assert read_books(content, ReadOptions(ignore_other_columns=True)) == [ILIAD]


def test_header_whose_column_name_has_a_line_break_is_read() -> None:
    content = b'"Book\ntitle";Author\nIliad;Homer\n'
    assert read_books(content, ReadOptions({"title": "book title"})) == [ILIAD]


@pytest.mark.parametrize("first_line", [b"sep=;\r\n", b'"sep=;"\n', b"SEP=;\n"])
@pytest.mark.parametrize("delimiter", [None, ";"])
def test_first_line_of_excel_that_names_the_delimiter_is_skipped(
    first_line: bytes, delimiter: str | None
) -> None:
    content = first_line + b"author;title\r\nHomer;Iliad\r\n"
    assert read_books(content, ReadOptions(delimiter=delimiter)) == [ILIAD]


@pytest.mark.parametrize("first_line", [b'sep="\n', b"sep=\r\n", b"sep=;;\n", b"sep=\n"])
def test_line_without_one_possible_delimiter_is_the_header(first_line: bytes) -> None:
    message = read_error(first_line + b"author;title\nHomer;Iliad\n")
    assert message.startswith("line 1, the header, has no columns author, title")


def test_chosen_delimiter_is_used_instead_of_the_recognized_one() -> None:
    content = b"author;title:author:title\nx;y:Homer:Iliad\n"
    options = ReadOptions(ignore_other_columns=True, delimiter=":")
    assert read_books(content, options) == [ILIAD]


# Names of columns


@pytest.mark.parametrize(
    "header", ["title,dob,author", '"title","dob",author', " Title ,\tDOB,AUTHOR\u00a0"]
)
def test_columns_may_have_any_order_case_and_surrounding_blanks(header: str) -> None:
    assert read_books(f"{header}\nIliad,,Homer\n".encode()) == [ILIAD]


def test_column_of_an_optional_field_may_be_missing() -> None:
    assert read_books(b"author,title\nHomer,Iliad\n") == [ILIAD]


@pytest.mark.parametrize("before", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n,,\n"])
def test_blank_lines_before_the_header_are_skipped(before: bytes) -> None:
    assert read_books(before + b"author,dob,title\nHomer,,Iliad\n") == [ILIAD]


def test_rows_of_only_delimiters_are_skipped_as_blank() -> None:
    content = b"author;title;\n;;\nHomer;Iliad;\n;;\n;;\n"
    assert read_books(content, ReadOptions(ignore_other_columns=True)) == [ILIAD]


# Columns of other programs

GOODBOOKS = (
    b'book_id,isbn,authors,original_title,title\n1,439023483,Homer,Iliad,"The Iliad (Epics, #1)"\n'
)
GOODREADS = (
    b"Book Id,Title,Author,Author l-f,Additional Authors,ISBN,ISBN13,My Review\n"
    b'1,Iliad,Homer,"Homer, -","A, B",="0439785960",="9780439785969","Said ""great"".\nTwice."\n'
    b'2,Iliad,Homer,"Homer, -",,"=""0439785960""","=""9780439785969""",\n'
)
LIBRARY_THING = "Book Id\tTitle\tPrimary Author\tISBN\n1\tIliad\tHomer\t[0439785960]\n".encode(
    "utf-16"
)
QUOTED = '\ufeffauthor_sort,authors,title\r\n"Homer","Homer","Iliad"\r\n'.encode()


@pytest.mark.parametrize(
    ("content", "options", "count"),
    [
        (GOODBOOKS, ReadOptions({"author": "authors", "title": "original_title"}), 1),
        (GOODREADS, ReadOptions(ignore_other_columns=True), 2),
        (GOODREADS, ReadOptions({"author": "AUTHOR"}), 2),
        (LIBRARY_THING, ReadOptions({"author": "Primary Author"}), 1),
        (QUOTED, ReadOptions({"author": "authors"}), 1),
    ],
    ids=["goodbooks", "goodreads", "goodreads with a column", "LibraryThing", "quoted"],
)
def test_export_of_another_program_is_read(
    content: bytes, options: ReadOptions, count: int
) -> None:
    assert read_books(content, options) == [ILIAD] * count


def test_two_fields_may_be_read_from_one_column() -> None:
    options = ReadOptions({"author": "name", "title": "name"})
    assert read_books(b"name\nHomer\n", options) == [{**ILIAD, "title": "Homer"}]


def test_column_with_exactly_the_name_is_preferred() -> None:
    content = b"Title,author,title\nx,Homer,Iliad\n"
    assert read_books(content, ReadOptions(ignore_other_columns=True)) == [ILIAD]


def test_ignored_columns_may_contain_anything_but_undecodable_bytes() -> None:
    content = b"author,title,notes\nHomer,Iliad," + b"\x00" * 9000 + b"\nHomer,Iliad,\xff\n"
    options = ReadOptions(ignore_other_columns=True)
    first, second = parse_lines("csv", BookLine, BytesIO(content), options)
    assert isinstance(first, ParsedLine)
    assert isinstance(second, InvalidLine)
    assert second.error_message.startswith("byte 13 is 0xFF, which is not valid UTF-8")


# Messages


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (
            b"author,title,isbn,year\n",
            ReadOptions(),
            """
            line 1, the header, has unknown columns: isbn, year. The expected columns are author,
            dob (optional), title. Pass --ignore-other-columns to ignore the others
            """,
        ),
        (
            GOODBOOKS,
            ReadOptions(),
            """
            line 1, the header, has no column author. Its other columns are book_id, isbn, authors,
            original_title. Say from which columns to read, for example: --column author=authors
            """,
        ),
        (
            b"book_id,Original Title,authors\n",
            ReadOptions(),
            """
            line 1, the header, has no columns author, title. Its other columns are book_id,
            Original Title, authors. Say from which columns to read, for example:
            --column author=authors --column 'title=Original Title'. If the file has no header, add
            one as its first line: author,dob,title
            """,
        ),
        (
            b"author,title\n",
            ReadOptions({"dob": "born"}),
            """
            line 1, the header, has no column born. Say from which columns to read, for example:
            --column dob=COLUMN
            """,
        ),
        (
            b"\n\nauthor,title,title\n",
            ReadOptions(),
            "line 3, the header, has 2 columns title: rename all but one of them",
        ),
        (
            b"author,title,\n",
            ReadOptions(),
            """
            line 1, the header, has unknown columns: (without a name). The expected columns are
            author, dob (optional), title. Pass --ignore-other-columns to ignore the others
            """,
        ),
        (
            b'author;"title\nHomer;Iliad\n',
            ReadOptions(),
            """
            line 1, the header, begins a quoted value that is never closed: write a quote inside a
            quoted value twice ("")
            """,
        ),
        (
            b"author,title" + b" " * MAX_LINE_LENGTH,
            ReadOptions(),
            f"line 1, the header, is longer than {MAX_LINE_LENGTH} characters",
        ),
        (
            "nombre,título\n".encode("latin-1"),
            ReadOptions(),
            """
            line 1, the header, byte 9 is 0xED, which is not valid UTF-8: pass the encoding of the
            file, for example --encoding cp1252 (Windows, western languages)
            """,
        ),
        (b"", ReadOptions(), "it is empty, but its first line has to name the columns"),
        (b"\xff\xfe", ReadOptions(), "it is empty, but its first line has to name the columns"),
        (b"\n\r\n", ReadOptions(), "it is empty, but its first line has to name the columns"),
    ],
)
def test_wrong_header_raises_an_error_that_says_what_to_do(
    content: bytes, options: ReadOptions, message: str
) -> None:
    assert read_error(content, options) == " ".join(message.split())


def test_long_list_of_columns_is_shortened() -> None:
    header = ",".join(f"c{number}" for number in range(100))
    assert "c28, c29, and 70 more." in read_error(header.encode())


def test_long_name_of_column_is_shortened() -> None:
    message = read_error(("authors," + "title" * 10_000).encode())
    assert f"Its other columns are authors, {'title' * 20}.... Say" in message
    assert "for example: --column author=authors --column title=COLUMN." in message
