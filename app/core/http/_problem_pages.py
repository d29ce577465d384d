"""The HTML version of a problem, for people who open a URL in a browser.

Programs get the problem as JSON (`_problems.py`).
"""

from html import escape
from typing import TYPE_CHECKING

from fastapi import Request

from app.core.http._html_pages import build_html_link, build_html_list, build_html_page
from app.core.http._root_path import add_root_path

if TYPE_CHECKING:
    from app.core.http._problems import Problem


def build_problem_page(request: Request, problem: "Problem") -> str:
    """Return a problem as an HTML page. All its values are escaped."""
    items = [("Path", f"<code>{escape(problem.instance)}</code>")]
    for field_error in problem.errors or []:
        location = field_error.parameter or field_error.header or field_error.pointer or ""
        items.append((location, escape(field_error.detail)))
    items.append(("Request id", f"<code>{escape(problem.request_id)}</code>"))
    body = f"""\
<h1>{problem.status} {escape(problem.title)}</h1>
<p>{escape(problem.detail)}</p>
{build_html_list(items)}
<p>About this service: {build_html_link(add_root_path(request.scope, "/"))}</p>"""
    return build_html_page(request, f"{problem.status} {problem.title}", body)
