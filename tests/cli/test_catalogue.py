"""Tests of the file `catalogue.csv`, which the command `seed` imports."""

from itertools import groupby
from unicodedata import is_normalized

import pytest

from app.books.schemas import BookLine
from app.cli.import_books import CATALOGUE
from app.core.formats import parse_lines


@pytest.fixture(scope="module")
def catalogue() -> list[BookLine]:
    with CATALOGUE.open("rb") as file:
        parsed_lines = [line for _, line in parse_lines("csv", BookLine, file)]
    error_messages = [line for line in parsed_lines if isinstance(line, str)]
    assert error_messages == []
    return [line for line in parsed_lines if isinstance(line, BookLine)]


def test_catalogue_has_hundreds_of_books(catalogue: list[BookLine]) -> None:
    assert len(catalogue) > 300
    assert len({line.author for line in catalogue}) > 50
    emma = {"author": "Jane Austen", "dob": "1775-12-16", "title": "Emma"}
    assert BookLine.model_validate(emma) in catalogue


def test_catalogue_contains_no_book_twice(catalogue: list[BookLine]) -> None:
    books = [(line.author, line.title.casefold()) for line in catalogue]
    assert sorted(set(books)) == sorted(books)


def test_catalogue_groups_books_by_author(catalogue: list[BookLine]) -> None:
    runs = [author for author, _ in groupby(catalogue, key=lambda line: line.author)]
    assert len(runs) == len(set(runs)) == len({(line.author, line.dob) for line in catalogue})


def test_catalogue_texts_are_normalized_and_printable(catalogue: list[BookLine]) -> None:
    for line in catalogue:
        for text in (line.author, line.title):
            assert is_normalized("NFC", text)
            assert text == " ".join(text.split())
            assert text.isprintable()
