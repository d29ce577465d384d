"""The advice for values that are not complete dates in the format 2026-11-29."""

from itertools import product
from typing import Any

import pytest
from httpx import AsyncClient
from pydantic import ValidationError

from app.authors.schemas import AuthorCreate
from app.core.date_messages import describe_wrong_date
from app.core.field_errors import DATE_MESSAGE, validation_error_message

TYPE = "Must be a string with a complete date such as 2026-11-29"
INCOMPLETE = (
    "Must be a complete date such as 2026-11-29. If the day or the month is unknown, leave the date"
    " out"
)
TWO_DIGITS = "Must have two digits for the month and the day, such as 2026-01-09"
WITHOUT_TIME = "Must be a date such as 2026-11-29, without a time of day"
HYPHENS = "Must have hyphens, such as 2026-11-29"
ORDER = "Must be the year, the month and the day with hyphens, such as 2026-11-29"
YEARS = "Must be a date in the years 1 to 9999, such as 2026-11-29"
BLANKS = "Must be a date such as 2026-11-29, without blanks around it"
EMPTY = "Must not be empty. If the date is unknown, leave it out"
# fmt: off
MESSAGES: dict[str, list[Any]] = {
    TYPE: [1926, 1926.5, -1378425600000, True, {"year": 1926}, [1926, 5, 12]],
    INCOMPLETE: [
        "1926", "0000", "0", "1926-05", "1926-5", "05/1926", "1926/1927", "1926-1930",
        "c. 1926", "ca 1926", "~1926", "1926?", "1926~", "192X", "1920s", "[1926]", "circa 1926",
    ],
    TWO_DIGITS: ["1926-5-1", "1926-05-1", "1926-5-01"],
    WITHOUT_TIME: [
        "1926-05-12T00:00:00Z", "1926-05-12T00:00:00.000+02:00", "1926-05-12 00:00:00",
    ],
    HYPHENS: ["19260512"],
    ORDER: ["05/12/1926", "5/12/26", "12.05.1926", "12. 5. 1926", "12-05-1926", "1926/05/12"],
    YEARS: ["-0043-03-15", "-43", "44 BC", "44 bce", "10000-01-01", "+12026-01-01"],
    BLANKS: [" 1926-05-12", "1926-05-12 ", "1926-05-12\n", " "],
    EMPTY: [""],
    DATE_MESSAGE: [
        "May 12, 1926", "12 May 1926", "unknown", "n/a", "-", "null", "--05-12", "1926-W20",
        "1926-05-12\0", "\u0661\u0669\u0662\u0666", "1" * 41, "c" * 10_000, "1-" * 10_000,
    ],
}
# fmt: on
CASES = [(value, message) for message, values in MESSAGES.items() for value in values]


@pytest.mark.parametrize(("value", "message"), CASES)
def test_wrong_date_gets_advice_for_its_format(value: object, message: str) -> None:
    assert describe_wrong_date(value) == message


async def test_wrong_date_of_birth_in_body_is_422_with_the_advice(client: AsyncClient) -> None:
    details = {}
    for value, _ in CASES:
        response = await client.post("/authors", json={"name": "Ada", "dob": value})
        assert response.status_code == 422, value
        [error] = response.json()["errors"]
        assert error["pointer"] == "/dob"
        details[str(value)] = error["detail"]
    assert details == {str(value): message for value, message in CASES}


def test_error_without_the_value_has_the_general_message() -> None:
    with pytest.raises(ValidationError) as raised:
        AuthorCreate.model_validate({"name": "Ada", "dob": "1926"})
    for include_input, message in ((True, INCOMPLETE), (False, DATE_MESSAGE)):
        [error] = raised.value.errors(include_input=include_input)
        assert validation_error_message(error) == message


async def test_wrong_date_in_query_is_422_with_the_advice(client: AsyncClient) -> None:
    for name, (value, message) in product(
        ("dob_from", "dob_to"), [("1926", INCOMPLETE), ("05/12/1926", ORDER), ("", EMPTY)]
    ):
        response = await client.get("/authors", params={name: value})
        [error] = response.json()["errors"]
        assert (error["parameter"], error["detail"]) == (name, message)


async def test_day_that_does_not_exist_is_422_that_says_so(client: AsyncClient) -> None:
    for value in ("1926-02-30", "1926-13-01", "1900-02-29", "1926-00-10"):
        response = await client.post("/authors", json={"name": "Ada", "dob": value})
        [error] = response.json()["errors"]
        assert error["detail"] == "Must be a day that exists, such as 2026-11-29"
