"""Create the functions of searches, which find words of folded texts.

| function | text | result |
| --- | --- | --- |
| `search_terms` | `Spider-Man` | `'man' 'spider' 'spiderman'` |
| `search_terms_query` | `spider-m` | `('spider':* & 'm':* | 'spiderm':*)` |

A list has the rows for which `search_terms(name) @@ search_terms_query(:q)` is true. Revision 0007
explains why the functions in PL/pgSQL do not call each other.

Revision: 0008, after 0007
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Ranges of the letters of Thai, Lao, Myanmar, Khmer, Chinese, Japanese, Yi and Korean. Most of them
# are written without spaces. Korean has spaces, but words inside of compounds, and particles.
UNSPACED_LETTERS = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3031-\u3035\u3040-\u31bf\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua48f\uac00-\ud7af\U00020000-\U0003ffff"
)
# Only the first characters of a word count, because a term has at most 2046 bytes.
WORD_LENGTH = 100

# Returns the words of a folded text, separated by spaces. Hyphens separate the parts of a compound,
# which is a word with an apostrophe, a hyphen, a period or another connector inside, or a sequence
# of single letters. The result for 'j. k. rowling: 20,000 cats' is 'j-k- rowling 20-000 cats'.
#
# Runs of UNSPACED_LETTERS are separated from other letters. A zero-width space is a connector.
SEPARATE_WORDS = rf"""
CREATE FUNCTION separate_words(folded text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $$
DECLARE
    words text COLLATE "pg_c_utf8" := folded;
BEGIN
    IF words ~ '[^a-z0-9 ]' THEN
        IF words ~ '[0-9],[0-9]' THEN
            words := regexp_replace(words, '(?<=[0-9]),(?=[0-9])', '-', 'g');
        END IF;
        -- Connectors are \x01 while other punctuation is replaced.
        words := translate(words, E'-''`.·&\u200b', E'\x01\x01\x01\x01\x01\x01\x01');
        words := regexp_replace(words, '[[:punct:][:space:]\x02-\x1f\x7f-\x9f]+', ' ', 'g');
        words := replace(words, E'\x01', '-');
    END IF;
    IF words ~ '(^| )[[:alpha:]]-* [[:alpha:]]-*( |$)' THEN
        words := regexp_replace(
            words, '(?<![^ ])([[:alpha:]])-* (?=[[:alpha:]]-*( |$))', '\1-', 'g'
        );
    END IF;
    IF octet_length(words) <> char_length(words) AND words ~ '[{UNSPACED_LETTERS}]' THEN
        words := regexp_replace(
            words, '([{UNSPACED_LETTERS}](-*[{UNSPACED_LETTERS}])*)', ' \1 ', 'g'
        );
    END IF;
    RETURN words;
END
$$
"""
# Returns the terms of words:
#
# - a word, or the parts of a compound: 'spider' 'man'
# - the parts of a compound from each part on, joined: 'spiderman' for 'spider-man'. A search for
#   the beginning of a term also finds some of them joined, because they are its beginning.
# - the pairs of adjacent characters in a run of UNSPACED_LETTERS, and its last character: '百年'
#   '年の' 'の' for '百年の'. A search for one character finds pairs that begin with it.
WORDS_TO_TERMS = rf"""
CREATE FUNCTION words_to_terms(words text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $$
DECLARE
    word text;
    parts text[];
    characters text[];
    terms text[] := ARRAY[]::text[];
BEGIN
    IF char_length(words) <= {WORD_LENGTH} AND words !~ '[-{UNSPACED_LETTERS}]' THEN
        RETURN array_to_tsvector(array_remove(string_to_array(words, ' '), ''));
    END IF;
    FOREACH word IN ARRAY string_to_array(words, ' ') LOOP
        parts := array_remove(string_to_array(word, '-'), '');
        IF word ~ '[{UNSPACED_LETTERS}]' THEN
            characters := string_to_array(array_to_string(parts, ''), NULL);
            terms := terms || ARRAY(
                SELECT concat(first, second)
                FROM unnest(characters, characters[2:]) AS pair (first, second)
            );
        ELSE
            FOR position IN 1 .. cardinality(parts) LOOP
                terms := terms || left(parts[position], {WORD_LENGTH});
                -- This many parts have at least as many characters as count.
                terms := terms || left(
                    array_to_string(parts[position : position + {WORD_LENGTH - 1}], ''),
                    {WORD_LENGTH}
                );
            END LOOP;
        END IF;
    END LOOP;
    RETURN array_to_tsvector(terms);
END
$$
"""  # noqa: S608 - inserts only constants
# Returns the query for texts that have all words of a search, as beginnings of terms. A compound is
# found by its parts or joined. Without a word, the query is NULL, which matches nothing.
WORDS_TO_QUERY = rf"""
CREATE FUNCTION words_to_query(words text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 100 AS $$
DECLARE
    word text;
    parts text[];
    terms text[];
    condition text;
    conditions text;
BEGIN
    -- A repeated term would not change the result, but be searched again.
    FOREACH word IN ARRAY ARRAY(SELECT DISTINCT unnest(string_to_array(words, ' '))) LOOP
        parts := array_remove(string_to_array(word, '-'), '');
        CONTINUE WHEN parts = ARRAY[]::text[];
        IF word ~ '[{UNSPACED_LETTERS}]' THEN
            terms := ARRAY(
                SELECT DISTINCT substr(part, position, 2)
                FROM unnest(parts) AS part,
                    generate_series(1, greatest(char_length(part) - 1, 1)) AS position
            );
        ELSE
            terms := ARRAY(SELECT DISTINCT left(part, {WORD_LENGTH}) FROM unnest(parts) AS part);
        END IF;
        condition := '''' || array_to_string(terms, ''':* & ''') || ''':*';
        IF cardinality(parts) > 1 AND word !~ '[{UNSPACED_LETTERS}]' THEN
            condition := '(' || condition || ' | '''
                || left(array_to_string(parts, ''), {WORD_LENGTH}) || ''':*)';
        END IF;
        conditions := concat_ws(' & ', conditions, condition);
    END LOOP;
    RETURN conditions::tsquery;
END
$$
"""  # noqa: S608 - inserts only constants
# A search for 'rock and roll' finds 'Rock & Roll'.
SEARCH_TERMS = """
CREATE FUNCTION search_terms(value text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN words_to_terms(
    separate_words(fold_text(value)) || CASE WHEN strpos(value, '&') > 0 THEN ' and' ELSE '' END
)
"""
SEARCH_TERMS_QUERY = """
CREATE FUNCTION search_terms_query(value text) RETURNS tsquery LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN words_to_query(separate_words(fold_text(value)))
"""
FUNCTIONS = (SEPARATE_WORDS, WORDS_TO_TERMS, WORDS_TO_QUERY, SEARCH_TERMS, SEARCH_TERMS_QUERY)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    for name in (
        "search_terms_query",
        "search_terms",
        "words_to_query",
        "words_to_terms",
        "separate_words",
    ):
        op.execute(f"DROP FUNCTION {name}(text)")
