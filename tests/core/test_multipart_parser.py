"""The parser of multipart bodies: the same result for every split, also of mutated bodies."""

import re
from collections.abc import Iterable, Iterator
from random import Random

import pytest

from app.core.errors import ServiceError
from app.core.multipart._parser import MAX_IGNORED_SIZE, MAX_PART_HEADERS_SIZE, MultipartParser
from app.core.multipart._part_headers import PartHeaders, parse_part_headers

BOUNDARY = b"a-b"
# Bytes that are inserted into bodies.
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"--", b"-", b" ", b"\t", b"\r\n ", b"\r\n\r\n", b" " * 300),
    *(b"--a-b", b"\r\n--a-b", b"\r\n--a-b--", b"\r\n--a-b\r\n", b"\r\n--a-bx", b"\n--a-b\n"),
    *(b'"', b"\\", b";", b"=", b":", b"%", b"''", b"\0", b"\xff", b"\xc3\xa9", b"x" * 300),
    *(b"; filename*=UTF-8''a%20b", b'; filename="=?utf-8?B?w6Q=?="', b"; filename=x"),
    b"Content-Type: text/plain; charset=utf-16\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
]
# The parts of a body, or the message of an error.
Result = list[tuple[PartHeaders, bytes]] | str


def parse(chunks: Iterable[bytes]) -> Result:
    """Parse a body that arrives in chunks."""
    parser = MultipartParser(BOUNDARY)
    headers: list[PartHeaders] = []
    contents: list[bytearray] = []
    try:
        for chunk in chunks:
            for piece in parser.parse(chunk):
                if isinstance(piece, PartHeaders):
                    headers.append(piece)
                    contents.append(bytearray())
                else:
                    contents[-1] += piece
            assert len(parser._unparsed) <= MAX_PART_HEADERS_SIZE + 4
        parser.finish()
    except ServiceError as error:
        return str(error)
    return list(zip(headers, map(bytes, contents), strict=True))


def parse_with_regular_expressions(body: bytes) -> Result | None:
    """Parse a complete body in a simple way. Return None if it is malformed."""
    first_delimiter = re.search(rb"\n--a-b(--|[ \t]{0,256}\r\n)", b"\n" + body)
    if first_delimiter is None:
        return None
    preamble_end = first_delimiter.start()
    if b"\n--a-b\n" in (b"\n" + body)[: preamble_end + 1]:
        return None
    parts = []
    rest = body[preamble_end + len(b"--a-b") :].lstrip(b" \t")
    while not rest.startswith(b"--"):
        header_block, blank_line, content = rest.partition(b"\r\n\r\n")
        delimiter = re.search(rb"\r\n--a-b(?=--|[ \t]{0,256}\r\n)[ \t]*", b"\r\n" + content)
        if not blank_line or delimiter is None:
            return None
        try:
            headers = parse_part_headers(header_block.removeprefix(b"\r\n"))
        except ServiceError:
            return None
        parts.append((headers, content[: max(0, delimiter.start() - 2)]))
        rest = content[delimiter.end() - 2 :]
    return parts


def create_body(random: Random) -> bytes:
    """Return a valid body with random parts."""
    parts = []
    for _ in range(random.randint(0, 3)):
        disposition = f'Content-Disposition: form-data; name="{random.choice(["name", "file"])}"'
        disposition += random.choice(["", '; filename="a.pdf"', ';\r\n filename="a.pdf"'])
        type_line = random.choice(["", "\r\nContent-Type: text/plain; charset=UTF-8"])
        content = b"".join(random.choices(TOKENS, k=random.randint(0, 5)))
        padding = random.choice([b"", b"", b" \t"])
        headers = f"{disposition}{type_line}\r\n\r\n".encode()
        parts.append(b"--a-b" + padding + b"\r\n" + headers + content + b"\r\n")
    preamble = random.choice([b"", b"", b"\r\n", b"preamble\r\n", b"preamble\n"])
    epilogue = random.choice([b"", b"\r\n", b"\r\nepilogue"])
    return preamble + b"".join(parts) + b"--a-b--" + epilogue


def mutate(body: bytes, random: Random) -> bytes:
    """Insert, remove and replace bytes at random places."""
    mutated = bytearray(body)
    for _ in range(random.choice([0, 1, 1, 2, 3, 8])):
        position = random.randint(0, len(mutated))
        removed_length = random.choice([0, 0, 1, 2, 5, 20])
        mutated[position : position + removed_length] = random.choice([b"", *TOKENS])
    return bytes(mutated)


def split(body: bytes, random: Random) -> Iterator[bytes]:
    """Yield the body in chunks of random lengths."""
    max_length = random.choice([1, 2, 5, 50, 500])
    position = 0
    while position < len(body):
        length = random.randint(1, max_length)
        yield body[position : position + length]
        position += length


@pytest.mark.parametrize("seed", range(4))
def test_mutated_bodies_have_the_same_parts_however_they_are_split(seed: int) -> None:
    random = Random(seed)
    accepted = 0
    for _ in range(500):
        body = mutate(create_body(random), random)
        result = parse([body])
        assert parse(split(body, random)) == result, body
        expected_parts = parse_with_regular_expressions(body)
        if isinstance(result, str):
            assert expected_parts is None, (body, result)
        else:
            assert result == expected_parts, body
            accepted += 1
    assert 100 < accepted < 400


def test_content_is_passed_on_without_a_copy() -> None:
    parser = MultipartParser(BOUNDARY)
    chunk = b"x" * 1000
    list(parser.parse(b"--a-b\r\nContent-Disposition: form-data; name=file\r\n\r\nx"))
    (piece,) = parser.parse(chunk)
    assert isinstance(piece, memoryview)
    assert piece.obj is chunk


ENDLESS = {
    "a preamble": (b"", b"x\r\n--a-bx" * 100),
    "a preamble of delimiters without an end": (b"", b"\n--a-b " * 100),
    "headers": (b"--a-b\r\n", b"X: x\r\n" * 100),
    "a folded header": (b"--a-b\r\nX: x", b"\r\n x" * 100),
    "a header name": (b"--a-b\r\n", b"x" * 1000),
    "an epilogue": (b"--a-b--\r\n", b"x\r\n--a-b\r\n" * 100),
}


@pytest.mark.parametrize(("start", "chunk"), ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_framing_is_refused_after_16_kib(start: bytes, chunk: bytes) -> None:
    chunks = iter([start, *[chunk] * 1000])
    assert isinstance(parse(chunks), str)
    parsed_chunks = 1000 - len(list(chunks))
    assert parsed_chunks <= MAX_PART_HEADERS_SIZE // len(chunk) + 1


@pytest.mark.parametrize("size", [8 * 1024, 8 * 1024 + 1])
def test_preamble_and_epilogue_may_have_8_kib_each(size: int) -> None:
    preamble = b"x" * (size - 2) + b"\r\n"
    is_accepted = size <= MAX_IGNORED_SIZE
    assert isinstance(parse([preamble + b"--a-b--"]), list) == is_accepted
    assert isinstance(parse([b"--a-b--" + b"x" * size]), list) == is_accepted
