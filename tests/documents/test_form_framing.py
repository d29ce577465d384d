"""Framing of multipart forms (RFC 2046): what is accepted, and the reason of each refusal."""

from email.encoders import encode_noop
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from hashlib import sha256

import pytest
from httpx import AsyncClient

from tests.documents.conftest import ListRemains
from tests.support.multipart import (
    BOUNDARY,
    FORM_HEADERS,
    form_body,
    form_field,
    form_file,
    form_part,
    send_form,
    stream_chunks,
)
from tests.support.problems import check_problem

MIB = 2**20
NAME = form_field("name", "Thesis")
CONTENT = b"%PDF-2.0\r\n\r\n--"
FILE = form_file(CONTENT)
FORM = form_body(NAME, FILE)
DELIMITER = f"--{BOUNDARY}".encode()
FILE_DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="a"'
KIND = "multipart/form-data"

ACCEPTED = {
    "a preamble": b"This is a message in MIME format.\r\n" + FORM,
    "a preamble of bare LF": b"This is a message\nin MIME format.\n" + FORM,
    "a preamble like a delimiter": DELIMITER + b"x\r\n" + FORM,
    "a blank line first": b"\r\n" + FORM,
    "an epilogue": FORM + b"anything\r\n" + form_body(form_field("name", "Draft")),
    "blanks after the first boundary": FORM.replace(DELIMITER, DELIMITER + b" \t", 1),
    "blanks after each boundary": FORM.replace(DELIMITER + b"\r\n", DELIMITER + b" \r\n"),
    "blanks after the end": FORM.removesuffix(b"\r\n") + b" \t\r\n",
    "no line end after the end": FORM.removesuffix(b"\r\n"),
    "folded headers": form_body(
        NAME,
        form_part(
            *("Content-Disposition:", "\tform-data;", ' name="file";', '  filename="a"'),
            *("Content-Type: application/pdf;", " x=y"),
            content=CONTENT,
        ),
    ),
    "a blank before the colon": FORM.replace(b"Content-Type:", b"Content-Type :"),
    "no blank after the colon": FORM.replace(b"Content-Type: ", b"Content-Type:"),
    "names in capitals": FORM.replace(b"Content-Disposition", b"CONTENT-DISPOSITION"),
    "32 headers": form_body(
        NAME, form_part(FILE_DISPOSITION, *["X-Many: x"] * 31, content=CONTENT)
    ),
    "15 KiB of headers": form_body(
        NAME, form_part(FILE_DISPOSITION, f"X: {'x' * 15 * 1024}", content=CONTENT)
    ),
    "unquoted parameters": form_body(
        NAME,
        form_part("Content-Disposition: form-data;name=file;filename=my file", content=CONTENT),
    ),
    "empty parameters": form_body(
        NAME, form_part(f"{FILE_DISPOSITION}; ; creation-date;", content=CONTENT)
    ),
}
accepted = pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())


@accepted
async def test_framing_of_rfc_2046_is_accepted(client: AsyncClient, body: bytes) -> None:
    for content in (body, stream_chunks(*(bytes([byte]) for byte in body))):
        response = await client.post("/documents", content=content, headers=FORM_HEADERS)
        assert response.status_code == 201, response.text
        document = response.json()
        assert (document["name"], document["sha256"]) == ("Thesis", sha256(CONTENT).hexdigest())


async def test_part_may_end_with_the_blank_line_after_its_headers(client: AsyncClient) -> None:
    file_part = form_part(FILE_DISPOSITION).removesuffix(b"\r\n")
    for parts in ((NAME, file_part), (file_part, NAME)):
        response = await send_form(client, "POST", "/documents", *parts)
        assert (response.status_code, response.json()["size"]) == (201, 0)


async def test_form_that_python_writes_as_an_email_is_accepted(client: AsyncClient) -> None:
    message = MIMEMultipart("form-data", BOUNDARY)
    message.preamble = "This is a multi-part message in MIME format."
    name = MIMEText("Thesis")
    name.add_header("Content-Disposition", "form-data", name="name")
    file = MIMEApplication(CONTENT, "pdf", _encoder=encode_noop)
    filename = f"a name {'that is folded ' * 10}.pdf"
    file.add_header("Content-Disposition", "form-data", name="file", filename=filename)
    message.attach(name)
    message.attach(file)
    # Long headers are folded.
    content = message.as_bytes(policy=compat32.clone(linesep="\r\n"))
    _, _, body = content.partition(b"\r\n\r\n")
    response = await client.post("/documents", content=body, headers=FORM_HEADERS)
    assert response.status_code == 201, response.text
    assert response.json()["filename"] == filename


NO_BOUNDARY = "no line that consists of the boundary"
CR_LF = "must end with CR LF"
IN_HEADERS = "within the headers"
NO_COLON = "does not begin with a name and a colon"
TOO_LONG = "must not exceed 16 KiB"
# The expected part of `detail`, and the body.
MALFORMED: dict[str, tuple[str, bytes]] = {
    "nothing": ("The body is empty", b""),
    "no form": (NO_BOUNDARY, b"name=Thesis"),
    "JSON": (NO_BOUNDARY, b'{"name": "Thesis"}'),
    "another boundary": (NO_BOUNDARY, FORM.replace(b"a-boundary", b"b-boundary")),
    "lines without CR": (CR_LF, FORM.replace(b"\r\n", b"\n")),
    "lines without LF": (NO_BOUNDARY, FORM.replace(b"\r\n", b"\r")),
    "header lines without CR": (
        CR_LF,
        form_body(NAME, form_part(f"{FILE_DISPOSITION}\nContent-Type: text/plain")),
    ),
    "headers that end without CR": (CR_LF, form_body(NAME, FILE.replace(b"\r\n\r\n", b"\n\n"))),
    "a header with a bare CR": (CR_LF, form_body(NAME, form_part(f"{FILE_DISPOSITION}\rX: y"))),
    "no end": ("before its closing boundary", NAME + FILE),
    "no end of the headers": (IN_HEADERS, NAME + DELIMITER + b"\r\nContent-Disposition: form"),
    "no headers": ("no header Content-Disposition", form_body(NAME, FILE, form_part(content=b"x"))),
    "no Content-Disposition": (
        "no header Content-Disposition",
        form_body(NAME, FILE, form_part("Content-Type: text/plain", content=b"x")),
    ),
    "two Content-Dispositions": (
        "content-disposition twice",
        form_body(NAME, form_part(FILE_DISPOSITION, FILE_DISPOSITION)),
    ),
    "two filenames": (
        "has a parameter twice",
        form_body(NAME, form_part(f'{FILE_DISPOSITION}; Filename="b"')),
    ),
    "a quote without an end": (
        "has malformed parameters",
        form_body(NAME, form_part(FILE_DISPOSITION.removesuffix('"'))),
    ),
    "no form-data": (
        "must be form-data",
        form_body(NAME, FILE, form_part('Content-Disposition: attachment; name="name"')),
    ),
    "no field": (
        "no parameter `name`",
        form_body(NAME, FILE, form_part("Content-Disposition: form-data")),
    ),
    "an extended field": (
        "no parameter `name`",
        form_body(FILE, form_part("Content-Disposition: form-data; name*=UTF-8''name")),
    ),
    "a field beyond UTF-8": (
        "not valid UTF-8",
        form_body(FILE, form_part(b'Content-Disposition: form-data; name="\xff"')),
    ),
    "a header without a colon": (
        NO_COLON,
        form_body(NAME, form_part(FILE_DISPOSITION, "Content-Type")),
    ),
    "a header without a name": (NO_COLON, form_body(NAME, form_part(FILE_DISPOSITION, ": x"))),
    "a header beyond ASCII": (NO_COLON, form_body(NAME, form_part(FILE_DISPOSITION, "X-é: x"))),
    "a fold without a header": (NO_COLON, form_body(NAME, form_part(f" {FILE_DISPOSITION}"))),
    "a header of a megabyte": (
        TOO_LONG,
        form_body(NAME, form_part(FILE_DISPOSITION, f"X-Long: {'x' * MIB}")),
    ),
    "a header name of a megabyte": (
        TOO_LONG,
        form_body(NAME, form_part(FILE_DISPOSITION, "x" * MIB)),
    ),
    "33 headers": (
        "more than 32 headers",
        form_body(NAME, form_part(FILE_DISPOSITION, *["X-Many: x"] * 32)),
    ),
    "base64": (
        "Content-Transfer-Encoding",
        form_body(NAME, form_part(FILE_DISPOSITION, "Content-Transfer-Encoding: base64")),
    ),
    "quoted-printable": (
        "Content-Transfer-Encoding",
        form_body(NAME, form_part(FILE_DISPOSITION, "content-transfer-encoding: Quoted-Printable")),
    ),
    "several files in one part": (
        "send each file as a part",
        form_body(
            NAME,
            form_part(
                'Content-Disposition: form-data; name="file"',
                "Content-Type: multipart/mixed; boundary=x",
            ),
        ),
    ),
}


@pytest.mark.parametrize(("reason", "body"), MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_form_returns_400_with_the_reason(
    client: AsyncClient, list_remains: ListRemains, reason: str, body: bytes
) -> None:
    for content in (body, stream_chunks(*(bytes([byte]) for byte in body[:2000]), body[2000:])):
        response = await client.post("/documents", content=content, headers=FORM_HEADERS)
        assert reason in check_problem(response, 400, "malformed-request")["detail"]
        assert await list_remains() == []


async def test_form_that_is_cut_short_anywhere_returns_400_and_leaves_nothing(
    client: AsyncClient, list_remains: ListRemains
) -> None:
    body = FORM
    for length in range(len(body) - len(b"-\r\n")):
        response = await client.post("/documents", content=body[:length], headers=FORM_HEADERS)
        check_problem(response, 400, "malformed-request")
    assert await list_remains() == []
    response = await client.post("/documents", content=body[:-2], headers=FORM_HEADERS)
    assert response.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "Multipart/Form-Data; Boundary=a-boundary",
        'multipart/form-data; boundary="a-boundary"',
        "multipart/form-data;charset=utf-8 ; boundary=a-boundary",
        "multipart/form-data; boundary = a-boundary; ;",
        'multipart/form-data; boundary="a-boundary "',
    ],
)
async def test_content_type_of_form_can_be_written_in_several_ways(
    client: AsyncClient, content_type: str
) -> None:
    headers = {"Content-Type": content_type}
    response = await client.post("/documents", content=form_body(NAME), headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize("boundary", ["x", "-" * 70, "'()+_,-./:=?", "a b", "x" * 256])
async def test_unusual_boundary_is_accepted(client: AsyncClient, boundary: str) -> None:
    body = FORM.replace(BOUNDARY.encode(), boundary.encode())
    headers = {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
    response = await client.post("/documents", content=body, headers=headers)
    assert (response.status_code, response.json()["size"]) == (201, len(CONTENT))


MISSING = "has no boundary"
INVALID_BOUNDARY = "at most 256 characters"
TWO_BOUNDARIES = "; boundary=a-boundary; boundary=b-boundary"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        *(("", MISSING), (";", MISSING), ("; boundary", MISSING), ("; boundary=", MISSING)),
        *(('; boundary=""', MISSING), ('; boundary="  "', MISSING), ("; bound=x", MISSING)),
        ("; boundary*=UTF-8''a-boundary", MISSING),
        ("; boundary=b-boundary", NO_BOUNDARY),
        (f"; boundary={BOUNDARY}, application/json", NO_BOUNDARY),
        (f"; boundary={'x' * 257}", INVALID_BOUNDARY),
        ("; boundary=\xff", INVALID_BOUNDARY),
        ('; boundary="a\tboundary"', INVALID_BOUNDARY),
        ('; boundary="a-boundary', "has malformed parameters"),
        (TWO_BOUNDARIES, "has a parameter twice"),
    ],
)
async def test_content_type_without_the_boundary_returns_400_with_the_reason(
    client: AsyncClient, parameters: str, reason: str
) -> None:
    headers = [(b"Content-Type", (KIND + parameters).encode("latin-1"))]
    response = await client.post("/documents", content=form_body(NAME), headers=headers)
    assert reason in check_problem(response, 400, "malformed-request")["detail"]
