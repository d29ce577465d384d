"""Multipart forms (RFC 7578) that are read as a stream, part by part, and never as a whole.

`MultipartForm` reads the body of a request, and calls back for each part: the caller chooses where
its content is written to, such as a `TextField`. `_parser.py` says why this is not done by a
library.
"""

from app.core.multipart._fields import (
    MissingFile,
    TextField,
    create_invalid_field_error,
    validate_fields,
)
from app.core.multipart._form import (
    MAX_FORM_OVERHEAD,
    MultipartForm,
    PartWriter,
    describe_form_limit,
)
from app.core.multipart._part_headers import PartHeaders

__all__ = [
    "MAX_FORM_OVERHEAD",
    "MissingFile",
    "MultipartForm",
    "PartHeaders",
    "PartWriter",
    "TextField",
    "create_invalid_field_error",
    "describe_form_limit",
    "validate_fields",
]
