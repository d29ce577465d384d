"""Tests of the file `catalog.csv`, which the command `seed` imports."""

from itertools import groupby
from unicodedata import is_normalized

import pytest

from app.books.schemas import BookLine
from app.cli.import_books import CATALOG
from app.core.formats import parse_lines


@pytest.fixture(scope="module")
def catalog() -> list[BookLine]:
    with CATALOG.open("rb") as file:
        parsed_lines = [line for _, line in parse_lines("csv", BookLine, file)]
    error_messages = [line for line in parsed_lines if isinstance(line, str)]
    assert error_messages == []
    return [line for line in parsed_lines if isinstance(line, BookLine)]


def test_catalog_has_hundreds_of_books(catalog: list[BookLine]) -> None:
    assert len(catalog) > 300
    assert len({line.author for line in catalog}) > 50
    emma = {"author": "Jane Austen", "dob": "1775-12-16", "title": "Emma"}
    assert BookLine.model_validate(emma) in catalog


def test_catalog_contains_no_book_twice(catalog: list[BookLine]) -> None:
    books = [(line.author, line.title.casefold()) for line in catalog]
    assert sorted(set(books)) == sorted(books)


def test_catalog_groups_books_by_author(catalog: list[BookLine]) -> None:
    runs = [author for author, _ in groupby(catalog, key=lambda line: line.author)]
    assert len(runs) == len(set(runs)) == len({(line.author, line.dob) for line in catalog})


def test_catalog_texts_are_normalized_and_printable(catalog: list[BookLine]) -> None:
    for line in catalog:
        for text in (line.author, line.title):
            assert is_normalized("NFC", text)
            assert text == " ".join(text.split())
            assert text.isprintable()
