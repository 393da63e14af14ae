"""The responses of the server itself. Each is an RFC 9457 problem.

Those of a request that is not HTTP it takes (400 to 505) close the connection: where that request ends and the next
begins is no longer certain, or the rest of a body is not worth reading. The 503s promise that nothing was done.
"""

from __future__ import annotations

from realmate.wire.responses import Response, problem, unavailable


def malformed(detail: str) -> Response:
    return problem(400, "bad_request", f"This is not a valid HTTP request: {detail}.")


def head_too_large(limit_bytes: int) -> Response:
    return problem(431, "headers_too_large", f"The request line and headers are larger than {limit_bytes} bytes.")


def body_too_large(limit_bytes: int) -> Response:
    return problem(413, "body_too_large", f"The body is larger than {limit_bytes} bytes.")


UNKNOWN_EXPECTATION = problem(417, "unknown_expectation", "The only expectation understood is 100-continue.")
UNKNOWN_METHOD = problem(501, "unknown_method", "This method is not known here.")
UNKNOWN_CODING = problem(501, "unknown_transfer_coding", "The only transfer coding understood is chunked.")
UNKNOWN_VERSION = problem(505, "unknown_http_version", "The HTTP versions understood are 1.0 and 1.1.")
UNSUPPORTED_ENCODING = problem(
    415,
    "unsupported_content_encoding",
    "The body is compressed or otherwise encoded; send it as it is, without Content-Encoding.",
    headers=(("Accept-Encoding", "identity"),),
)
TIMED_OUT = problem(408, "request_timeout", "The request did not arrive whole in time.")

OVERLOADED = unavailable("Too many requests are waiting.")
TOO_MANY_CONNECTIONS = unavailable("Too many connections are open.")
NO_ROOM = unavailable("This process holds as many bytes as it may.")
TOO_MANY_WAIT = unavailable("Too many readers wait for changes.", retry_after_s=5)
STOPPING = unavailable("This process is stopping.")
FAILED = unavailable("This request could not be worked on.")
