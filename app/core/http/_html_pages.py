"""Small HTML pages for people who open a URL of the service in a browser.

The pages need no JavaScript and no other file than the icon. Their Content-Security-Policy forbids
everything else.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from typing import Final

from fastapi import Request

from app import TITLE
from app.core.http._root_path import add_root_path

ICON_PATH: Final = "/favicon.svg"
_STYLE: Final = """\
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
body { margin: 3rem auto; max-width: 42rem; padding: 0 1rem; overflow-wrap: anywhere }
h1 { line-height: 1.2 }
dl { display: grid; grid-template-columns: fit-content(40%) 1fr; gap: .25rem 1rem }
dt { opacity: .7 }
dd { margin: 0 }
code { font-size: .9em }
"""
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
# The headers of every response with such a page.
HTML_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        f"img-src 'self'; style-src 'sha256-{_STYLE_HASH}'"
    )
}


def build_html_page(request: Request, title: str, body: str) -> str:
    """Return an HTML page that has the style of the service.

    Args:
        request: The request, whose prefix ROOT_PATH the URL of the icon gets.
        title: The title of the browser tab, as text. The name of the service is added.
        body: The content of the page, as HTML. Text in it has to be escaped.
    """
    return build_html_document(
        f"{title} - {TITLE}",
        icon_url=add_root_path(request.scope, ICON_PATH),
        head=f"<style>{_STYLE}</style>",
        body=body,
    )


def build_html_document(title: str, *, icon_url: str, head: str, body: str) -> str:
    """Return an HTML document. `head` and `body` are HTML, and the other arguments are text."""
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(title)}</title>
<link rel="icon" type="image/svg+xml" href="{escape(icon_url)}">
{head}
</head>
<body>
{body}
</body>
</html>
"""


def build_html_list(items: list[tuple[str, str]]) -> str:
    """Return a list of names and values in HTML. The names are text, and the values are HTML."""
    lines = [f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in items]
    return "\n".join(["<dl>", *lines, "</dl>"])


def build_html_link(path: str) -> str:
    """Return a link in HTML that shows its path, for example `/docs`."""
    return f'<a href="{escape(path)}">{escape(path)}</a>'
