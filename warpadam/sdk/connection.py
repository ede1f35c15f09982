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

import httpx

from warpadam.sdk.errors import ConnectionFailed, from_answer

Json = dict[str, Any]
Params = Mapping[str, str | int | Sequence[str]]

_RETRIED = frozenset({429, 502, 503, 504})
_LONGEST_WAIT_S = 30.0


class Connection:
    def __init__(self, base_url: str, api_key: str | None, *, timeout_s: float, tries: int) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.base_url = base_url.rstrip("/")
        self._tries = max(1, tries)
        self._http = httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def json(self, method: str, path: str, *, params: Params | None = None, body: object | None = None) -> Json:
        """The decoded answer; {} where it has no content."""
        answer = self._send(method, path, params=params, json=body)
        return dict(answer.json()) if answer.content else {}

    def upload(self, path: str, fields: Mapping[str, str], file_name: str, file: IO[bytes]) -> Json:
        """Multipart: the fields first, then the file, streamed."""
        return dict(self._send("POST", path, data=fields, file=(file_name, file)).json())

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
            if last_try or answer.status_code not in _RETRIED:
                raise from_answer(answer.status_code, _problem(answer))
            time.sleep(_backoff(attempt, answer.headers.get("Retry-After")))
        raise AssertionError("the last try returns or raises")

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            f"No answer from {self.base_url} ({error or type(error).__name__}). "
            "Is the service running (`warpadam serve`)? WARPADAM_URL says where to look."
        )


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
