"""The page's files: what a browser may do with them, and which files there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request

from realmate.console import pages


def serve(path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    answer = pages.serve(Request(EnvironBuilder(headers=Headers(headers)).get_environ()), path)
    with answer:
        answer.direct_passthrough = False
        return answer.status_code, dict(answer.headers.to_wsgi_list()), answer.get_data()


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text("<!doctype html>")
    (tmp_path / "page" / "assets" / "index-1a2b.js").write_text("1")
    (tmp_path / "secret").write_text("s")
    monkeypatch.setattr(pages, "BUILT", tmp_path / "page")
    return tmp_path


def test_files_with_a_hash_are_kept_and_the_others_asked_for_again(built: Path) -> None:
    assert built
    status, headers, _ = serve("assets/index-1a2b.js")
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    status, headers, body = serve("index.html")
    assert (status, headers["Cache-Control"], body) == (200, "no-cache, max-age=0", b"<!doctype html>")
    assert serve("index.html", **{"If-None-Match": headers["ETag"]})[0] == 304


def test_no_other_page_may_frame_it_and_no_script_of_others_runs(built: Path) -> None:
    assert built
    for path in ("index.html", "assets/index-1a2b.js", "nothing"):
        policy = serve(path)[1]["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["../secret", "/../secret", "assets/../../secret", "..%2fsecret", "nothing", "assets"])
def test_nothing_but_its_files_is_served(built: Path, path: str) -> None:
    assert built
    status, _, body = serve(path)
    assert (status, body) == (404, b"There is no such file.")


def test_a_page_that_is_not_built_says_how_to_build_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "BUILT", tmp_path)
    status, _, body = serve("index.html")
    assert status == 503
    assert b"make console" in body
