"""Search by words: the parameter `q` of lists."""

from urllib.parse import quote
from uuid import UUID

import pytest
from httpx import AsyncClient

from app.core.db import Database
from tests.support.responses import check_parameter_error, get_json
from tests.support.rows import AUTHOR_BOOKS_PATH, COLLECTION_PATHS, SEARCH_WORDS
from tests.support.searches import insert_names, search_names

every_collection = pytest.mark.parametrize(
    "path", [path for path in COLLECTION_PATHS if path in SEARCH_WORDS]
)
every_list = pytest.mark.parametrize("path", SEARCH_WORDS)


@every_list
async def test_search_matches_beginnings_of_words_in_any_order_case_and_accents(
    client: AsyncClient, database: Database, path: str
) -> None:
    await insert_names(database, path, ["Gabriel García Márquez", "Juan Márquez", "Gary Marlowe"])
    for q, expected in (
        ("garcia mar", ["Gabriel García Márquez"]),
        ("MÁRQUEZ GARCÍA", ["Gabriel García Márquez"]),
        ("m gab g", ["Gabriel García Márquez"]),
        ("gar mar", ["Gabriel García Márquez", "Gary Marlowe"]),
        ("marquez", ["Gabriel García Márquez", "Juan Márquez"]),
        ("márquez márquez", ["Gabriel García Márquez", "Juan Márquez"]),
        ("arcia", []),
        ("garcias", []),
        ("garciamar", []),
        ("juan garcia", []),
    ):
        assert await search_names(client, path, q) == expected, q


@every_list
async def test_search_without_word_returns_no_rows(
    client: AsyncClient, database: Database, path: str
) -> None:
    await insert_names(database, path, ["!!!", "One", "%", "&"])
    for q in ("!!!", " ", "%", "_", "&", "|", ":*", "\\", "'", "''", "()", "<->", "\u0301", "🦄"):
        assert await search_names(client, path, q) == [], q


@every_list
async def test_search_must_have_1_to_100_characters(client: AsyncClient, path: str) -> None:
    for q in ("", "x" * 101, "é" * 101, "📚" * 101):
        check_parameter_error(await client.get(f"{path}?q={quote(q)}"), "q")


@every_collection
async def test_longest_search_is_supported(
    client: AsyncClient, database: Database, path: str
) -> None:
    await insert_names(database, path, ["x" * 100])
    assert await search_names(client, path, "x" * 100) == ["x" * 100]
    assert await search_names(client, path, "x " * 50) == ["x" * 100]
    # Unicode normalization expands some of these characters to several letters.
    for q in ("\U0001f4da" * 100, "\ufdfa" * 100, "\u3316" * 100, "1e9" * 33):
        assert await search_names(client, path, q) == []


@every_list
async def test_search_with_nul_character_returns_422(client: AsyncClient, path: str) -> None:
    for q in ("%00", "a%00b", "a%00"):
        check_parameter_error(await client.get(f"{path}?q={q}"), "q")


@pytest.mark.parametrize(
    ("title", "searches"),
    [
        ("García Márquez", ["garcía", "GARCÍA", "garci\u0301a", "marquez, garcia"]),
        ("Garci\u0301a", ["garcía", "garcia"]),  # the accent is a separate character
        ("Ångström", ["angstrom", "ÅNGSTRÖM", "\u212bngstr", "a\u030angstro\u0308m"]),
        ("İstanbul", ["istanbul", "ISTANBUL", "İSTANBUL", "i\u0307stanbul"]),
        ("\ufb01nance", ["finance", "FINANCE", "fin", "\ufb01n"]),
        ("Finance", ["\ufb01n"]),
        ("Œuvre d'été", ["œuvre", "ŒUVRE", "ete"]),
        ("Ёлка и Чай", ["елка", "ЁЛКА", "чаи"]),
        ("Οδός", ["οδος", "ΟΔΌΣ", "ΟΔΟΣ", "οδοσ"]),  # two forms of the letter sigma
        ("Große Straße", ["große", "GROßE", "strasse", "STRASSE", "GROẞE"]),
        ("STRASSE", ["straße"]),
        ("한국어", ["한국어", "한국", "한"]),
        ("百年の孤独", ["百年", "百年の孤独"]),
        ("ガンダム", ["ガンダム", "ガン", "\uff76\uff9e\uff9d"]),
        ("हिन्दी साहित्य", ["हिन्दी", "साहित्य"]),
        ("ألف ليلة", ["ألف", "ليلة"]),
        ("Ⅷ ① ½ x²", ["viii", "1", "2", "x2"]),
        ("\uff11\uff19\uff18\uff14", ["1984", "19"]),  # full-width digits
        ("في ١٩٨٤", ["١٩٨٤", "١٩"]),
        ("१९८४ का", ["१९८४"]),
    ],
)
async def test_search_ignores_case_and_accents_in_any_script(
    client: AsyncClient, database: Database, title: str, searches: list[str]
) -> None:
    await insert_names(database, "/books", [title, "Another"])
    for q in [title, title.upper(), title.lower(), title.casefold(), *searches]:
        assert await search_names(client, "/books", q) == [title], q


ODD_TITLES = [
    "100% Certain",
    "snake_case",
    "O'Brien",
    "O\u2019Neill",
    "Rock & Roll",
    "Either | Or",
    "and/or",
    "Oh! Calcutta!",
    "a:* wild",
    "C:\\Windows\\System32",
    "this <-> that",
    'The "Quoted" One',
    "''double''",
    "(parentheses) [brackets] {braces}",
    "3.14",
    "-7",
    "1,000,000",
    "12e5x",
    "1e5",
    "5e5e5",
    "0x1F",
    "007",
    "1984",
    "2001: A Space Odyssey",
    "https://example.com/path?query=1#top",
    "ada@example.com",
    "/usr/local/bin",
    "&amp; &#39; <b>bold</b>",
    "$1 and $2",
    "'; DROP TABLE books; --",
    "Catch-22",
    "half\u00a0space",
    "soft\u00adhyphen",
    "zero\u200bwidth",
    "tab\tline\nend",
    "Fahrenheit 451°",
    "the or not",
    "NULL",
    "x" * 300,
    "A:B",
    "foo:1A,2B",
]


async def test_search_for_title_returns_book_with_title(
    client: AsyncClient, database: Database
) -> None:
    await insert_names(database, "/books", ODD_TITLES)
    for title in ODD_TITLES:
        assert title in await search_names(client, "/books", title[:100]), title


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("100", ["100% Certain", "1,000,000"]),
        ("100%", ["100% Certain", "1,000,000"]),
        ("case", ["snake_case"]),
        ("snake_c", ["snake_case"]),
        ("o'b", ["O'Brien"]),
        ("brien", ["O'Brien"]),
        ("obrien", ["O'Brien"]),
        ("neill", ["O\u2019Neill"]),
        ("rock&roll", ["Rock & Roll"]),
        ("rock|nothing", []),
        ("!rock", ["Rock & Roll"]),
        ("rock <-> roll", ["Rock & Roll"]),
        ("roll <-> rock", ["Rock & Roll"]),
        ("r:* & ro", ["Rock & Roll"]),
        ("ro:ABCD", []),
        ("or/and", ["and/or"]),
        ("system", ["C:\\Windows\\System32"]),
        ("quo", ['The "Quoted" One']),
        ("brack", ["(parentheses) [brackets] {braces}"]),
        ("3.14", ["3.14"]),
        ("14", ["3.14"]),
        ("1,000", ["1,000,000"]),
        ("12e5x", ["12e5x"]),
        ("12e5", ["12e5x"]),
        ("12e", ["12e5x"]),
        ("1e5", ["1e5"]),
        ("5e5e", ["5e5e5"]),
        ("e5", []),  # no word begins with this
        ("x5", []),
        ("7", ["-7"]),
        ("00", ["1,000,000", "007"]),
        ("198", ["1984"]),
        ("example.com", ["https://example.com/path?query=1#top", "ada@example.com"]),
        ("path query", ["https://example.com/path?query=1#top"]),
        ("local", ["/usr/local/bin"]),
        ("bold", ["&amp; &#39; <b>bold</b>"]),
        ("22", ["Catch-22"]),
        ("drop table books", ["'; DROP TABLE books; --"]),
        ("space half", ["half\u00a0space"]),
        ("width", ["zero\u200bwidth"]),
        ("line", ["tab\tline\nend"]),
        ("451", ["Fahrenheit 451°"]),
        ("not", ["the or not"]),
        ("null", ["NULL"]),
    ],
)
async def test_punctuation_in_search_only_separates_words(
    client: AsyncClient, database: Database, q: str, expected: list[str]
) -> None:
    await insert_names(database, "/books", ODD_TITLES)
    assert await search_names(client, "/books", q) == expected


async def test_letter_with_mark_is_not_split_into_two_words(
    client: AsyncClient, database: Database
) -> None:
    # NFKD separates the letter and the mark. A remaining mark would split the word.
    await insert_names(database, "/books", ["हिन्दी", "தமிழ்"])
    for q in ("दी", "न्दी", "மிழ்", "ழ்"):
        assert await search_names(client, "/books", q) == [], q


async def test_search_uses_new_title_after_update(client: AsyncClient, database: Database) -> None:
    await insert_names(database, "/books", ["Before"])
    await client.patch(f"/books/{UUID(int=0)}", json={"title": "After"})
    assert await search_names(client, "/books", "after") == ["After"]
    assert await search_names(client, "/books", "before") == []


async def test_search_results_can_be_sorted_paged_and_counted(
    client: AsyncClient, database: Database
) -> None:
    await insert_names(database, "/books", [f"Word {n}" for n in range(30)] + ["Other"] * 5)
    page = await get_json(client, f"{AUTHOR_BOOKS_PATH}?q=wor&sort=-title&page=2&size=20")
    assert (page["total"], page["pages"]) == (30, 2)
    assert page["items"][-1]["title"] == "Word 0"
