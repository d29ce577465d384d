"""Searches of real titles and authors: which of them are found, and which are not."""

import unicodedata

import asyncpg
import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.search_pairs import MATCHING_PAIRS, OTHER_PAIRS
from tests.support.searches import find_missed, insert_names, search_names

TEXTS = sorted({text for pairs in MATCHING_PAIRS.values() for _, text in pairs})


def test_table_has_at_least_a_hundred_pairs() -> None:
    assert sum(len(pairs) for pairs in MATCHING_PAIRS.values()) >= 100


@pytest.mark.parametrize("kind", MATCHING_PAIRS)
async def test_search_finds_book_despite_difference(
    client: AsyncClient, database: Database, kind: str
) -> None:
    await insert_names(database, "/books", sorted({text for _, text in MATCHING_PAIRS[kind]}))
    for search, text in MATCHING_PAIRS[kind]:
        assert text in await search_names(client, "/books", search), (search, text)


async def test_search_outside_of_stated_limits_does_not_find_book(
    client: AsyncClient, database: Database
) -> None:
    await insert_names(database, "/books", sorted({text for _, text in OTHER_PAIRS}))
    for search, text in OTHER_PAIRS:
        assert text not in await search_names(client, "/books", search), (search, text)


async def test_search_for_whole_text_in_any_form_finds_it(
    outside_connection: asyncpg.Connection,
) -> None:
    forms = await outside_connection.fetch(
        "SELECT text, normalize(text, NFC), normalize(text, NFD), normalize(text, NFKC),"
        ' upper(text COLLATE "pg_c_utf8"), lower(text COLLATE "pg_c_utf8")'
        " FROM unnest($1::text[]) AS text",
        TEXTS,
    )
    pairs = [(form, row[0]) for row in forms for form in (*row, row[0].casefold())]
    pairs += [(text, form) for form, text in pairs]
    assert await find_missed(outside_connection, pairs) == []


async def test_every_beginning_of_every_word_finds_text(
    outside_connection: asyncpg.Connection,
) -> None:
    pairs = [
        (word[:length], text)
        for text in TEXTS
        # A letter and its mark may be one character, of which the letter is not the beginning.
        for word in unicodedata.normalize("NFKC", text).split()
        for length in range(1, len(word) + 1)
    ]
    words = await outside_connection.fetch(
        "SELECT search FROM unnest($1::text[]) AS search WHERE search_terms_query(search) IS NULL",
        [search for search, _ in pairs],
    )
    # Beginnings such as a quotation mark do not contain a word.
    without_word = {row[0] for row in words}
    pairs = [pair for pair in pairs if pair[0] not in without_word]
    assert len(pairs) > 1000
    assert await find_missed(outside_connection, pairs) == []


async def test_words_of_text_in_any_order_find_it(outside_connection: asyncpg.Connection) -> None:
    pairs = [(" ".join(reversed(text.split())), text) for text in TEXTS if "." not in text]
    assert await find_missed(outside_connection, pairs) == []
