"""Settings that contain parts of URLs, which have to be spelled as browsers spell them."""

import pytest

from app.settings import Settings, describe_validation_error
from tests.support.settings import reject_settings


@pytest.mark.parametrize(
    "origin",
    [
        *("https://app.example.com", "http://localhost:5173", "http://127.0.0.1:3000"),
        *("http://[::1]:3000", "https://xn--bcher-kva.example", "http://app.example:443"),
        *("https://app.example:80", "https://my_app.example:65535", "https://app.example."),
    ],
)
def test_origin_that_browsers_send_is_accepted(origin: str) -> None:
    assert Settings(_env_file=None, cors_origins=origin).cors_origins == (origin,)


@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        ("*", "Must not contain *."),
        ("https://*.example.com", "Must not contain *."),
        ("null", "Must begin with http:// or https://"),
        ("app.example.com", "Must begin with http:// or https://"),
        ("//app.example.com", "Must begin with http:// or https://"),
        ("HTTPS://app.example.com", "Must begin with http:// or https:// in lower case"),
        ("ftp://app.example.com", "Must begin with http:// or https://"),
        ("https:/app.example.com", "Must begin with http:// or https://"),
        ('["https://app.example.com"]', "Must begin with http:// or https://"),
        ("https://app.example.com/", "Must end after the host and the port"),
        ("https://app.example.com/app", "Must end after the host and the port"),
        ("https://app.example.com?x", "Must end after the host and the port"),
        ("https://app.example.com#", "Must end after the host and the port"),
        ("https://ada:hunter2@app.example.com", "Must not contain a user name"),
        ("https://bücher.example", "Must be in ASCII"),
        ("https://App.example.com", "Must be in lower case"),
        ("http://[::FFFF]", "Must be in lower case"),
        ("https://app.example.com:443", "Must not contain the default port"),
        ("http://app.example.com:80", "Must not contain the default port"),
        ("http://app.example.com:", "Must be like https://"),
        ("http://", "Must be like https://"),
        ("http://app example.com", "Must be like https://"),
        ("http://app.example.com:0", "Must have a port between"),
        ("http://app.example.com:08080", "Must have a port between"),
        ("http://app.example.com:65536", "Must have a port between"),
        ("http://127.1", "Must have the IP address"),
        ("http://127.0.0.01", "Must have the IP address"),
        ("http://0x7f.0x1", "Must have the IP address"),
        ("http://[0:0::1]", "Must have the IP address"),
        ("http://[::x]", "Must be like https://"),
    ],
)
def test_origin_that_browsers_never_send_is_rejected_with_the_correct_form(
    origin: str, reason: str
) -> None:
    error = reject_settings(cors_origins=f"https://app.example.com, {origin}")
    sentences = describe_validation_error(error)
    assert sentences.startswith(f"CORS_ORIGINS, value 2: {reason}")
    assert "hunter2" not in sentences


@pytest.mark.parametrize("root_path", ["", "/api", "/apps/books", "/v1.2/a_b~c-d"])
def test_path_prefix_is_accepted(root_path: str) -> None:
    assert Settings(_env_file=None, root_path=root_path).root_path == root_path


@pytest.mark.parametrize(
    ("root_path", "reason"),
    [
        *((path, "Must begin with a slash") for path in ("/", "api", "/api/", "https://a/api")),
        ("//", "Must begin with a slash"),
        *((path, "Must consist of") for path in ("//api", "/a//b", "/a/../b", "/.", "/a b")),
        *((path, "Must consist of") for path in ("/büch", "/a%20b", "/api?x", "/api#x", "/a\nb")),
        *((path, "Must consist of") for path in ("/<api>", '/"', "/$1", "/{id}", "/*")),
    ],
)
def test_invalid_path_prefix_is_rejected(root_path: str, reason: str) -> None:
    error = reject_settings(root_path=root_path)
    assert describe_validation_error(error).startswith(f"ROOT_PATH: {reason}")
