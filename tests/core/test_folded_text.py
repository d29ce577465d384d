"""The functions of the database that fold text: sort keys, terms, and their limits."""

import unicodedata

import asyncpg
import pytest

# Characters of the scripts whose letters are folded, and of some others.
CHARACTERS = [
    character
    for start, end in ((0x20, 0x600), (0x600, 0x700), (0x900, 0xE80), (0x1E00, 0x2200))
    for character in map(chr, range(start, end))
    # U+0345 is an accent, but its upper case is a letter.
    if unicodedata.category(character) != "Cn" and character != "\u0345"
]


async def test_folding_folded_text_changes_nothing(outside_connection: asyncpg.Connection) -> None:
    changed = await outside_connection.fetch(
        "SELECT text FROM unnest($1::text[]) AS text WHERE fold_text(fold_text(text))"
        " <> fold_text(text)",
        CHARACTERS,
    )
    assert changed == []


@pytest.mark.parametrize(
    "form",
    [
        'upper(text COLLATE "pg_c_utf8")',
        'lower(text COLLATE "pg_c_utf8")',
        "normalize(text, NFD)",
        "normalize(text, NFKC)",
    ],
)
async def test_all_forms_of_character_are_folded_to_the_same_text(
    outside_connection: asyncpg.Connection, form: str
) -> None:
    different = await outside_connection.fetch(
        f"SELECT text FROM unnest($1::text[]) AS text WHERE fold_text({form}) <> fold_text(text)",
        CHARACTERS,
    )
    assert different == []


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Spider-Man", ["man", "spider", "spiderman"]),
        ("J.K. Rowling", ["j", "jk", "k", "rowling"]),
        ("J. K. Rowling", ["j", "jk", "k", "rowling"]),
        ("a-b-c", ["a", "abc", "b", "bc", "c"]),
        ("20,000 cats", ["000", "20", "20000", "cats"]),
        ("百年の", ["の", "年の", "百年"]),
        ("手", ["手"]),
        ("iPhone手机", ["iphone", "手机", "机"]),
        ("Spider-Man 手机", ["man", "spider", "spiderman", "手机", "机"]),
        ("A & B", ["a", "and", "b"]),
        ("!!! --- 🦄", []),
        ("", []),
        ("x" * 300, ["x" * 100]),
    ],
)
async def test_terms_of_text(
    outside_connection: asyncpg.Connection, text: str, terms: list[str]
) -> None:
    statement = 'SELECT tsvector_to_array(search_terms($1)) COLLATE "C"'
    assert sorted(await outside_connection.fetchval(statement, text)) == sorted(terms)


@pytest.mark.parametrize(
    "text",
    [
        *(character * 300 for character in "x📚本\ufdfa\u3316㏂ß\u0301ก"),
        "a." * 150,
        "本-" * 150,
        "é " * 150,
        "''" * 150,
        "\\" * 300,
    ],
)
async def test_longest_texts_are_bounded(outside_connection: asyncpg.Connection, text: str) -> None:
    sizes = await outside_connection.fetchrow(
        "SELECT octet_length(text_sort_key($1)) AS key, pg_column_size(search_terms($1)) AS terms,"
        " coalesce(search_terms($1) @@ search_terms_query($1), true) AS is_found",
        text,
    )
    assert sizes is not None
    # An index entry has at most 2704 bytes, two ids among them, and a tsvector a megabyte.
    assert sizes["key"] <= 2401
    assert sizes["terms"] < 100_000
    assert sizes["is_found"]


async def test_null_has_neither_sort_key_nor_terms(outside_connection: asyncpg.Connection) -> None:
    statement = "SELECT text_sort_key(NULL), search_terms(NULL), search_terms_query(NULL)"
    row = await outside_connection.fetchrow(statement)
    assert row is not None
    assert tuple(row) == (None, None, None)


@pytest.mark.parametrize(
    ("search", "query"),
    [
        ("ab " * 33, "'ab':*"),
        ("a-" * 50, f"'a':* | '{'a' * 50}':*"),
        ("a-b " * 25, "'a':* & 'b':* | 'ab':*"),
        # Each of these characters is folded to six, of which the pairs are terms.
        ("\u3316" * 100, "'キロ':* & 'ロメ':* & 'メー':* & 'ート':* & 'トル':* & 'ルキ':*"),
    ],
    ids=["words", "parts", "compounds", "pairs"],
)
async def test_query_has_repeated_term_once(
    outside_connection: asyncpg.Connection, search: str, query: str
) -> None:
    # The order of the terms is not defined.
    statement = "SELECT numnode(search_terms_query($1)), numnode($2::tsquery)"
    row = await outside_connection.fetchrow(statement, search, query)
    assert row is not None
    assert row[0] == row[1]
