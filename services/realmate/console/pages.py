"""The page's files, as they were built: `console/` in the repository has their sources."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from werkzeug.exceptions import NotFound
from werkzeug.security import safe_join
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
    max_age_s = YEAR_S if is_hashed else 0
    try:
        if (packed := _compressed(request, path)) is not None:
            answer = send_from_directory(BUILT, packed, request.environ, max_age=max_age_s, mimetype=_type_of(path))
            answer.headers["Content-Encoding"] = "gzip"
        else:
            answer = send_from_directory(BUILT, path, request.environ, max_age=max_age_s)
    except NotFound:
        return WsgiResponse("There is no such file.", 404, HEADERS, mimetype="text/plain")
    if is_hashed:
        answer.cache_control.immutable = True
    answer.vary.add("Accept-Encoding")
    answer.headers.extend(HEADERS)
    return answer


def _compressed(request: Request, path: str) -> str | None:
    """Return the name of the compressed file that the build has put beside this one, if the browser takes it."""
    if request.accept_encodings["gzip"] <= 0:
        return None
    packed = safe_join(str(BUILT), f"{path}.gz")
    return f"{path}.gz" if packed is not None and Path(packed).is_file() else None


def _type_of(path: str) -> str:
    return mimetypes.guess_type(path)[0] or "application/octet-stream"
