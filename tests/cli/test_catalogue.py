"""The catalogue that seed loads, as a file."""

from itertools import groupby
from unicodedata import is_normalized

import pytest

from app.books.schemas import BookLine
from app.cli.import_books import CATALOGUE
from app.core.formats import parse_lines


@pytest.fixture(scope="module")
def catalogue() -> list[BookLine]:
    with CATALOGUE.open("rb") as file:
        found = [line for _, line in parse_lines("csv", BookLine, file)]
    assert [line for line in found if isinstance(line, str)] == []
    return [line for line in found if isinstance(line, BookLine)]


def test_it_is_a_catalogue_and_not_an_example(catalogue: list[BookLine]) -> None:
    assert len(catalogue) > 300
    assert len({line.author for line in catalogue}) > 50
    emma = {"author": "Jane Austen", "dob": "1775-12-16", "title": "Emma"}
    assert BookLine.model_validate(emma) in catalogue


def test_no_book_is_in_it_twice(catalogue: list[BookLine]) -> None:
    books = [(line.author, line.title.casefold()) for line in catalogue]
    assert sorted(set(books)) == sorted(books)


def test_an_author_has_one_date_of_birth_and_one_place(catalogue: list[BookLine]) -> None:
    runs = [author for author, _ in groupby(catalogue, key=lambda line: line.author)]
    assert len(runs) == len(set(runs)) == len({(line.author, line.dob) for line in catalogue})


def test_its_words_are_in_the_usual_form(catalogue: list[BookLine]) -> None:
    for line in catalogue:
        for text in (line.author, line.title):
            assert is_normalized("NFC", text)
            assert text == " ".join(text.split())
            assert text.isprintable()
