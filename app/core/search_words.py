"""The description of the query parameter `q`: what a search by words finds."""

from typing import Final

# The functions of the database that migrations 0007 and 0008 create implement this.
SEARCH_WORDS_DESCRIPTION: Final = (
    "Search words. An item matches if each of them is the beginning of a word of its name"
    " or title, in any order.\n\n"
    "Case, accents, vowel marks of Arabic and Hebrew, and invisible characters are ignored."
    " Letters with strokes, ligatures and digits of any script match plain ones: `oresund`"
    " finds `Øresund`, `strasse` finds `Straße`, `1984` finds `١٩٨٤`. Punctuation"
    " separates words.\n\n"
    "Words with apostrophes, hyphens, periods or `&` inside, and initials, match by their"
    " parts or joined: `o brien` and `obrien` find `O'Brien`, `jk` and `j. k.` find"
    " `J.K.`, `20000` finds `20,000`. `and` finds `&`.\n\n"
    "In Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese and Yi, words are found"
    " anywhere in a run of letters. An item matches if each pair of adjacent characters of"
    " the search word is in it, at any position; a single character is found as well.\n\n"
    "`mueller` does not find `Müller`. Words in another script, or in simplified instead of"
    " traditional Chinese, are not found. Only the first 100 characters of a word count."
)
