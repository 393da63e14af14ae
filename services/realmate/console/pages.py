"""The page's files, as they were built: `console/` in the repository has their sources."""

from __future__ import annotations

from pathlib import Path

from werkzeug.exceptions import NotFound
from werkzeug.utils import send_from_directory
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as WsgiResponse

BUILT = Path(__file__).parent / "page"
"""`make console` puts the page here."""
YEAR_S = 365 * 86_400
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none';"
    " form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Realmate</title>
<h1>The console's page is not built</h1>
<p>Everything else runs. Build the page with <code>make console</code> (it needs npm packages once), then reload.</p>
</html>
"""


def serve(request: Request, path: str) -> WsgiResponse:
    """Return a file of the page. Files whose names have a hash never change; all others are asked for again."""
    if not (BUILT / "index.html").exists():
        return WsgiResponse(NOT_BUILT, 503, HEADERS, mimetype="text/html")
    is_hashed = path.startswith("assets/")
    try:
        answer = send_from_directory(BUILT, path, request.environ, max_age=YEAR_S if is_hashed else 0)
    except NotFound:
        return WsgiResponse("There is no such file.", 404, HEADERS, mimetype="text/plain")
    if is_hashed:
        answer.cache_control.immutable = True
    answer.headers.extend(HEADERS)
    return answer
