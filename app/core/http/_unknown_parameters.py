"""Explains what to send instead of a query parameter that an endpoint does not have."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Final

UNKNOWN_PARAMETER: Final = "Unknown parameter"
# Longer names are not compared with the known ones, because that would take too long.
_MAX_COMPARED_LENGTH: Final = 40  # characters
# The similarity of two names, between 0 and 1, from which one may be a misspelling of the other.
_MIN_SIMILARITY: Final = 0.75
_BRACKETS_AND_DOTS: Final = re.compile(r"[\[\].]+")
# The names below are in lower case and contain only letters and digits.
_OTHER_CHARACTERS: Final = re.compile(r"[^a-z0-9]+")

# Names by which libraries make each URL unique. The name `_` of jQuery becomes "".
_CACHE_BUSTERS: Final = {
    *("", "t", "ts", "dt", "dc", "cb", "rnd", "rand", "random", "nocache", "timestamp"),
    *("cachebust", "cachebuster", "bustcache", "bust", "cachebreaker"),
}
_CACHE_BUSTER_ADVICE: Final = (
    "It looks like a cache buster. Leave it out, because caches ask the service before they reuse a"
    " response (jQuery adds `_` if `cache` is false)"
)
# Names that advertisers and social networks add to links, besides those that begin with "utm".
_TRACKING_NAMES: Final = {
    *("fbclid", "gclid", "gclsrc", "dclid", "wbraid", "gbraid", "msclkid", "twclid", "ttclid"),
    *("yclid", "igshid", "igsh", "mccid", "mceid", "ga", "gl"),
}
_TRACKING_PREFIX: Final = "utm"
_TRACKING_ADVICE: Final = "It belongs to the tracking of links. Leave it out"
_CREDENTIALS: Final = {
    *("accesstoken", "token", "apikey", "key", "auth", "authorization", "bearer", "jwt"),
    *("password", "secret"),
}
_CREDENTIALS_ADVICE: Final = (
    "Send an access token in the header Authorization, because URLs are stored in logs"
)
_JSONP_ADVICE: Final = "JSONP is not supported. Use CORS instead"
_ADVICE_BY_NAME: Final = {
    **dict.fromkeys(_CACHE_BUSTERS, _CACHE_BUSTER_ADVICE),
    **dict.fromkeys(_TRACKING_NAMES, _TRACKING_ADVICE),
    **dict.fromkeys(_CREDENTIALS, _CREDENTIALS_ADVICE),
    "callback": _JSONP_ADVICE,
    "jsonp": _JSONP_ADVICE,
}
# The names that other services use for a parameter, by its name in this service.
_OTHER_NAMES: Final = {
    "size": ("limit", "perpage", "pagesize", "maxresults", "take", "top", "rows"),
    "page": ("offset", "skip", "start", "p", "pagenumber", "pageindex", "pageno"),
    "cursor": ("after", "next", "startingafter", "pagetoken", "nextpagetoken", "continuation"),
    "sort": ("order", "orderby", "ordering", "sortby", "sortorder", "orderdir"),
    "q": ("search", "query", "keyword", "keywords", "term", "text", "s"),
    "id": ("ids", "idin"),
    "count": ("total", "withcount", "includetotal"),
}
_KNOWN_NAMES: Final = {
    other_name: name for name, other_names in _OTHER_NAMES.items() for other_name in other_names
}
# The endings that other services use for the two bounds of a period, such as `dob_gte`.
_OTHER_ENDINGS: Final = {
    "from": ("min", "gte", "gt", "since", "after", "start"),
    "to": ("max", "lte", "lt", "before", "until", "end"),
}


def describe_unknown_parameter(name: str, allowed_names: Collection[str]) -> str:
    """Return the message for an unknown query parameter, with advice if its purpose is clear.

    For example "Unknown parameter. Did you mean `sort`?" for `order_by` and `sorts`. The message
    does not contain the name itself, which clients choose.
    """
    if len(name) > _MAX_COMPARED_LENGTH:
        return UNKNOWN_PARAMETER
    simple_name = _OTHER_CHARACTERS.sub("", name.lower())
    known_name = _find_known_name(name, simple_name, allowed_names)
    if known_name is not None:
        return f"{UNKNOWN_PARAMETER}. Did you mean `{known_name}`?"
    if simple_name.startswith(_TRACKING_PREFIX):
        return f"{UNKNOWN_PARAMETER}. {_TRACKING_ADVICE}"
    if simple_name in _ADVICE_BY_NAME:
        return f"{UNKNOWN_PARAMETER}. {_ADVICE_BY_NAME[simple_name]}"
    return UNKNOWN_PARAMETER


def _find_known_name(name: str, simple_name: str, allowed_names: Collection[str]) -> str | None:
    """Return the parameter that a client probably means, or None.

    It is in brackets (`page[size]`) or before them (`page[number]`, `count[]`), has another name
    (`limit`, `dob_gte`) in other services, or is spelled similarly (`sorts`, `createdFrom`).
    """
    for part in reversed(_BRACKETS_AND_DOTS.split(name)):
        if part in allowed_names:
            return part
    if simple_name in _ADVICE_BY_NAME:
        return None
    usual_name = _KNOWN_NAMES.get(simple_name)
    if usual_name in allowed_names:
        return usual_name
    names_by_simple_name = {_OTHER_CHARACTERS.sub("", known): known for known in allowed_names}
    for ending, other_endings in _OTHER_ENDINGS.items():
        for other_ending in other_endings:
            bound = simple_name.removesuffix(other_ending).removesuffix("at") + ending
            if simple_name.endswith(other_ending) and bound in names_by_simple_name:
                return names_by_simple_name[bound]
    similar_names = get_close_matches(simple_name, names_by_simple_name, 1, _MIN_SIMILARITY)
    return names_by_simple_name[similar_names[0]] if similar_names else None
