"""Accepts repeated query parameters in the notations of client libraries.

A client writes the ids 7 and 8 as `?id=7&id=8`. Libraries write the name of an array differently:

    id[]=7&id[]=8      axios, jQuery, Rails, PHP
    id[0]=7&id[1]=8    qs, PHP (`http_build_query`), axios with `indexes: true`

The brackets may be percent-encoded. Only parameters that may be repeated are accepted like this.
"""

import re
from collections.abc import Mapping
from operator import itemgetter
from typing import Final
from urllib.parse import unquote_plus

from fastapi import Request

# For example "id[]" or "id[12]".
_ARRAY_NAME: Final = re.compile(r"(?P<name>[^\[\]]+)\[(?P<index>0|[1-9][0-9]{0,2})?\]")


def rename_array_parameters(request: Request, allowed_parameters: Mapping[str, bool]) -> None:
    """Replace `id[]` and `id[0]` by `id` in the query string of a request.

    The rest of the service, for example the `Link` header, then sees only `id`. Values with an
    index are sorted by it. A name that does not belong to a repeatable parameter is left alone.

    Args:
        request: The request. Its scope is changed in place.
        allowed_parameters: The known parameters, and for each whether it may be repeated.
    """
    query_string: bytes = request.scope["query_string"]
    # The bracket may be percent-encoded. Most query strings do not contain it.
    if b"[" not in query_string and b"%5B" not in query_string and b"%5b" not in query_string:
        return
    indexed_parameters = []
    for parameter in query_string.split(b"&"):
        encoded_name, separator, encoded_value = parameter.partition(b"=")
        match = _ARRAY_NAME.fullmatch(unquote_plus(encoded_name.decode("latin-1")))
        if match is None or not allowed_parameters.get(match["name"], False):
            indexed_parameters.append((0, parameter))
            continue
        index = int(match["index"] or 0)
        indexed_parameters.append((index, match["name"].encode() + separator + encoded_value))
    # Parameters with the same index, and those without one, keep their order.
    indexed_parameters.sort(key=itemgetter(0))
    request.scope["query_string"] = b"&".join(parameter for _, parameter in indexed_parameters)
