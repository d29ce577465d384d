"""Create the functions that fold text for sort orders, searches and the comparison of emails.

| function | text | result |
| --- | --- | --- |
| `fold_case` | `ÉMILE@example.com` | `émile@example.com` |
| `fold_text` | `Émile Øre` | `emile ore` |
| `text_sort_key` | `Émile` | `emile`, a separator and `Émile` |

They give the same results on every server, because they name the collation `pg_c_utf8` instead of
using that of the database. It is built into Postgres 17 and later.

A function in PL/pgSQL calls only functions of Postgres, because Postgres builds and analyzes
indexes with a search path that does not contain ours. The functions whose body is one expression
are bound to other functions when they are created.

Revision: 0007, after 0006
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Ranges of characters that are removed: signs that writers add or omit, and invisible characters.
# Marks that change a letter into another one stay, such as those of Japanese and the vowels of
# Indian scripts.
REMOVED_CHARACTERS = (
    r"\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"  # accents
    r"\u0483-\u0489"  # signs of old Cyrillic
    r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"  # vowels and accents of Hebrew
    r"\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    r"\u08d3-\u08e1\u08e3-\u08ff"  # vowels of Arabic, hamza above and below a letter
    r"\u0640"  # tatweel, which makes an Arabic word wider
    r"\u0711\u0730-\u074a"  # vowels of Syriac
    r"\u093c"  # nukta of Devanagari
    r"\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"  # invisible characters
)
# Characters without a decomposition in Unicode, by the character that replaces them. The Latin
# letters are those of the rules of `unaccent`, an extension of Postgres, and ə, ǝ and ɔ.
PUNCTUATION = {
    "''": "‘’‚‛′´ʹʻʼʽʾʿˈ\u05f3\u05f4",
    '"': "“”„‟«»″",
    "-": "‐‑‒–—―−\u05be",
    "·": "•‧⋅・",
    "?": "¿",
    "!": "¡",
}
LATIN_LETTERS = {
    "a": "ⱥ",
    "b": "ƀƃɓ",
    "c": "ƈȼɕ",
    "d": "ðđƌȡɖɗ",
    "e": "ǝɇəɛ",
    "f": "ƒ",
    "g": "ǥɠɡ",
    "h": "ħɦɧⱨ",
    "i": "ıɨɪ",
    "j": "ȷɉɟʝ",
    "k": "ƙⱪ",
    "l": "łƚȴɫɬɭ",
    "m": "ɱ",
    "n": "ŋƞȵɲɳ",
    "o": "øɔ",
    "p": "ƥ",
    "q": "ĸʠ",
    "r": "ɍɼɽɾ",
    "s": "ȿʂ",
    "t": "ŧƫƭȶʈⱦ",
    "u": "ʉ",
    "v": "ʋ",
    "y": "ƴɏ",
    "z": "ƶȥɀʐʑⱬ",
}
LIGATURES = {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
# The final sigma, and letters with a stroke, which people type without it.
GREEK_AND_CYRILLIC_LETTERS = {
    "σ": "ς",
    "а": "ә",
    "г": "ґғҕ",
    "ж": "җ",
    "з": "ҙ",
    "к": "қҝҟҡ",
    "н": "ңҥ",
    "о": "ө",
    "с": "ҫ",
    "т": "ҭ",
    "у": "үұ",
    "х": "ҳ",
    "ч": "ҷҹ",
}
# Forms of one letter in Arabic, Persian and Urdu: alef, heh, kaf and yeh.
ARABIC_LETTERS = {
    "\u0627": "\u0671",
    "\u0647": "\u0629\u06be\u06c1\u06d5",
    "\u0643": "\u06a9\u06aa",
    "\u064a": "\u0649\u06cc\u06d0",
}
# The digit zero of each script. The other nine digits follow it.
ZEROS = (
    "\u0660\u06f0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0e50\u0ed0\u0f20\u1040"
    "\u17e0\u1810"
)
DIGITS = {str(digit): "".join(chr(ord(zero) + digit) for zero in ZEROS) for digit in range(10)}
DIGIT_RANGES = "".join(f"{zero}-{chr(ord(zero) + 9)}" for zero in ZEROS)


def translate(replacements: dict[str, str]) -> str:
    """Return an SQL expression that replaces single characters in the variable `folded`."""
    replaced = "".join(replacements.values())
    substitutes = "".join(
        substitute * len(characters) for substitute, characters in replacements.items()
    )
    return f"translate(folded, '{replaced}', '{substitutes}')"


def replace_ligatures() -> str:
    """Return an SQL expression that replaces ligatures in the variable `folded` by two letters."""
    expression = "folded"
    for ligature, letters in LIGATURES.items():
        expression = f"replace({expression}, '{ligature}', '{letters}')"
    return expression


# Two emails are the same if the results are. The upper case unites the two forms of sigma.
FOLD_CASE = """
CREATE FUNCTION fold_case(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN lower(upper(value COLLATE "pg_c_utf8"))
"""
# NFKD separates letters from their marks. After the marks of REMOVED_CHARACTERS are removed, NFC
# joins the others with their letters again. The conditions avoid `translate` where it would change
# nothing, because it is slow.
FOLD_NON_ASCII_TEXT = rf"""
CREATE FUNCTION fold_non_ascii_text(value text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 200 AS $$
DECLARE
    folded text COLLATE "pg_c_utf8" := normalize(value, NFKD);
BEGIN
    folded := lower(regexp_replace(folded, '[{REMOVED_CHARACTERS}]+', '', 'g'));
    IF folded ~ '[\u00a1-\u00bf\u02b9-\u02c8\u05be\u05f3\u05f4\u2010-\u22c5\u30fb]' THEN
        folded := {translate(PUNCTUATION)};
    END IF;
    IF octet_length(folded) = char_length(folded) THEN
        RETURN folded;
    END IF;
    IF folded ~ '[\u00df-\u02af\u2c60-\u2c7f]' THEN
        folded := {replace_ligatures()};
        folded := {translate(LATIN_LETTERS)};
    END IF;
    IF folded ~ '[\u03c2\u0490-\u04e9]' THEN
        folded := {translate(GREEK_AND_CYRILLIC_LETTERS)};
    END IF;
    IF folded ~ '[\u0600-\u06ff]' THEN
        folded := {translate(ARABIC_LETTERS)};
    END IF;
    IF folded ~ '[{DIGIT_RANGES}]' THEN
        folded := {translate(DIGITS)};
    END IF;
    RETURN normalize(folded, NFC);
END
$$
"""
# Returns 'garcia marquez' for 'García Márquez'. Most texts are ASCII, and folded faster.
FOLD_TEXT = """
CREATE FUNCTION fold_text(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN octet_length(value) = char_length(value) THEN lower(value COLLATE "pg_c_utf8")
    ELSE fold_non_ascii_text(value)
END
"""
# Returns the folded text, a separator and the text, so that texts that are equal when folded have
# an order as well. The separator is the lowest character, so that 'Ann' comes before 'Ann Marie'.
# The folded text is cut because one character may become 18, and an index entry has at most 2704
# bytes. Invisible spaces are removed. They matter only to the separation of words.
TEXT_SORT_KEY = r"""
CREATE FUNCTION text_sort_key(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(replace(fold_text(value), U&'\200B', ''), 300) || U&'\0001' || value
"""
FUNCTIONS = (FOLD_CASE, FOLD_NON_ASCII_TEXT, FOLD_TEXT, TEXT_SORT_KEY)


def upgrade() -> None:
    for function in FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    for name in ("text_sort_key", "fold_text", "fold_non_ascii_text", "fold_case"):
        op.execute(f"DROP FUNCTION {name}(text)")
