"""HTTP for the client: retries, idempotency keys, errors. Knows nothing of jobs.

Every POST carries an Idempotency-Key that stays the same over its retries, so a request whose answer got lost is never
executed twice. Waits between tries honour Retry-After.
"""

import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import quote, urlsplit

import httpx

from warpadam.sdk.errors import ConnectionFailed, WarpAdamError, from_answer

Json = dict[str, Any]
Params = Mapping[str, str | int | Sequence[str]]

_RETRIED = frozenset({429, 502, 503, 504})
_STILL_RUNS = "idempotency_in_flight"
_LONGEST_WAIT_S = 30.0


class Connection:
    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, tries: int) -> None:
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise WarpAdamError("The API key has characters that no key has: copy it again (WARPADAM_API_KEY).")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.base_url = _checked(base_url)
        self._tries = max(1, tries)
        self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, path: str, *, params: Params | None = None, body: object | None = None) -> Json:
        """The decoded answer; {} where it has no content."""
        return self._decoded(self._send(method, path, params=params, json=body))

    def upload(self, path: str, fields: Mapping[str, str], file_name: str, file: IO[bytes]) -> Json:
        """Multipart: the fields first, then the file, streamed."""
        return self._decoded(self._send("POST", path, data=fields, file=(file_name, file)))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """A GET whose content is read piece by piece; pieces may be up to 90 s apart."""
        timeout = httpx.Timeout(30.0, read=90.0)
        try:
            with self._http.stream("GET", path, headers=dict(headers or {}), timeout=timeout) as answer:
                if answer.is_error:
                    answer.read()
                    raise from_answer(answer.status_code, _problem(answer))
                yield answer
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _send(
        self, method: str, path: str, *, file: tuple[str, IO[bytes]] | None = None, **content: Any
    ) -> httpx.Response:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        for attempt in range(1, self._tries + 1):
            last_try = attempt == self._tries
            if file is not None:
                file[1].seek(0)
                content["files"] = {"file": file}
            try:
                answer = self._http.request(method, path, headers=headers, **content)
            except httpx.TransportError as error:
                if last_try:
                    raise self._unreachable(error) from error
                time.sleep(_backoff(attempt, None))
                continue
            if not answer.is_error:
                return answer
            problem = _problem(answer)
            if last_try or not (answer.status_code in _RETRIED or problem.get("code") == _STILL_RUNS):
                raise from_answer(answer.status_code, problem)
            time.sleep(_backoff(attempt, answer.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    def _decoded(self, answer: httpx.Response) -> Json:
        """The JSON object of a good answer; {} for none. Raises ConnectionFailed where it is something else."""
        if not answer.content and answer.is_success:
            return {}
        try:
            content = answer.json() if answer.is_success else None
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ConnectionFailed(
                f"What answers at {self.base_url} is no WarpAdam service: set WARPADAM_URL to where one runs."
            )
        return content

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            f"No answer from {self.base_url} ({error or type(error).__name__}). "
            "Is the service running (`warpadam serve`)? WARPADAM_URL says where to look."
        )


def segment(text: str) -> str:
    """One part of a path: what a person typed names one thing, never another path."""
    return quote(text, safe="")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConnectionFailed(f"{url!r} is no address of a service: WARPADAM_URL looks like http://127.0.0.1:8000.")
    return url.rstrip("/")


def _backoff(attempt: int, retry_after: str | None) -> float:
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), _LONGEST_WAIT_S)
    return random.uniform(0.5, 1.0) * min(0.2 * 2.0**attempt, 5.0)


def _problem(answer: httpx.Response) -> Json:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    return problem if isinstance(problem, dict) else {"detail": answer.text[:300] or answer.reason_phrase}
