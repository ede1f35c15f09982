"""The OpenAPI document: complete, true to the code and the documentation, and the one that is committed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema import Draft202012Validator

from api import errors, openapi
from api.problems import KINDS, title
from service.access import SCOPES

Json = dict[str, Any]


@pytest.fixture(scope="module")
def document(built_app: FastAPI) -> Json:
    found: Json = built_app.openapi()
    return found


def operations(document: Json) -> Iterator[tuple[str, Json]]:
    for path, method, operation in openapi.operations(document):
        yield f"{method.upper()} {path}", operation


def test_the_committed_document_is_this_one(document: Json, root: Path) -> None:
    committed = (root / "docs/openapi.json").read_text()
    assert committed == openapi.text(document), "the API changed: run `make openapi`, and look at what git shows"


def test_every_call_is_described(document: Json) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names)) > 50
    known = {each["name"] for each in document["tags"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation.get("description", "").endswith((".", "…", "'s.")), name
        assert set(operation["tags"]) <= known, name
        for parameter in operation.get("parameters", ()):
            is_named_by_path = parameter["in"] == "path" and parameter["name"] != "which"
            assert is_named_by_path or parameter.get("description"), (name, parameter["name"])
        if name.split()[1].startswith("/v1/"):
            (needed,) = operation["security"]
            assert set(needed["key"]) <= set(SCOPES), name


def test_every_call_tells_its_problems(document: Json) -> None:
    for name, operation in operations(document):
        answers = operation["responses"]
        assert not {"4XX", "5XX", "default"} & set(answers), name
        assert {"403", "422", "500"} <= set(answers), name
        if operation.get("security"):
            assert {"401", "429", "503"} <= set(answers), name
        assert ("404" in answers) == ("{" in name), name
        if "requestBody" in operation:
            assert {"413", "415"} <= set(answers), name
        if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ())):
            assert "409" in answers, name
    told = document["components"]["responses"].values()
    bodies = [each["content"]["application/problem+json"] for each in told]
    described = {code for body in bodies for code in body["schema"]["properties"]["code"]["enum"]}
    assert set(KINDS) - described == {"method_not_allowed"}, "which is of paths, not of calls"


def fits(document: Json, schema: Json, value: Any) -> None:
    validator = Draft202012Validator({**schema, "components": document["components"]})
    assert [error.message for error in validator.iter_errors(value)] == []


def test_every_answer_has_an_example_that_fits(document: Json) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if content is not None:
                assert content["example"], (name, status)
                fits(document, content["schema"], content["example"])


def test_every_body_has_an_example_that_fits(document: Json) -> None:
    found = 0
    for name, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            continue
        given = [each["value"] for each in content.get("examples", {}).values()]
        for example in given or [openapi.example_of(content["schema"], document["components"]["schemas"])]:
            assert example, name
            fits(document, content["schema"], example)
            found += 1
    assert found > 10


def test_every_problem_has_an_example_that_fits(document: Json) -> None:
    for code, example in document["components"]["examples"].items():
        fits(document, {"$ref": "#/components/schemas/Problem"}, example["value"])
        assert (example["value"]["code"], example["value"]["status"]) == (code, KINDS[code].status)
        assert example["value"]["title"] == title(KINDS[code].status)


def test_the_codes_are_those_that_the_code_gives(root: Path) -> None:
    for kind, status in errors.STATUS.items():
        if kind.__subclasses__() and kind.code not in KINDS:  # a class that is only there to be inherited from
            continue
        assert KINDS[kind.code].status == status, kind
    source = "".join(path.read_text() for folder in ("api", "service") for path in (root / folder).rglob("*.py"))
    raised = set(re.findall(r'\bcode="(\w+)"', source))
    assert raised <= set(KINDS), "api/problems.py lacks them"
    told = (root / "docs/api.md").read_text()
    assert [code for code in KINDS if f"`{code}`" not in told] == [], "docs/api.md, Errors, lacks them"


SECRETS = {
    "a key": r"wa_[A-Za-z0-9]{8}",
    "a webhook's secret": r"whsec_[A-Za-z0-9+/]{8}",
    "a bearer": r"[Bb]earer [A-Za-z0-9]{12}",
    "a password in a URL": r"://[^/\s\"]*:[^/\s\"]+@",
    "a private key": r"-----BEGIN",
    "a cloud's key": r"AKIA[0-9A-Z]{16}|ghp_\w{20}|hf_\w{20}|sk-\w{20}",
    "a long token": r"(?<![\w/])(?![0-9a-f]{64}\b)(?!\w+_01kq3v5n8w6y2d4f7h9k1m3p5r)(?=\w*\d)[A-Za-z0-9+]{33,}",
    "a path of somebody's machine": r"/(home|root|Users)/",
}


@pytest.mark.parametrize("kind", SECRETS)
def test_no_example_holds_a_secret(document: Json, root: Path, kind: str) -> None:
    for text in (openapi.text(document), (root / "docs/api.md").read_text()):
        assert re.findall(SECRETS[kind], text) == []


def test_what_looks_for_secrets_finds_them() -> None:
    samples = {
        "a key": "wa_3f9K2mX8pQ",
        "a webhook's secret": "whsec_MfKQ9r8GKYqr",
        "a bearer": "Bearer abcdefghijkl",
        "a password in a URL": "https://ada:pw@example.com",
        "a private key": "-----BEGIN RSA",
        "a cloud's key": "AKIAIOSFODNN7EXAMPLE",
        "a long token": "dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxs0",
        "a path of somebody's machine": "/home/ada/x",
    }
    assert {kind: bool(re.search(SECRETS[kind], text)) for kind, text in samples.items()} == dict.fromkeys(
        SECRETS, True
    )


CURL = re.compile(r"curl (?P<before>[^\n]*?)\"?\$URL(?P<path>/[^\s\"'?]*)(?P<after>[^\n]*(?:\\\n[^\n]*)*)")


def curls(text: str) -> set[tuple[str, str]]:
    """(method, path) of each curl in a document."""
    found = set()
    for match in CURL.finditer(text):
        options = match["before"] + match["after"].split("#")[0]
        method = re.search(r"-X (\w+)", options)
        sends = re.search(r" -d | -F |--data", f" {options} ")
        found.add((method[1] if method else "POST" if sends else "GET", match["path"]))
    return found


def test_the_documentation_has_curl_for_every_call(document: Json, root: Path) -> None:
    shown = curls((root / "docs/api.md").read_text())
    missing = []
    for path, method, _ in openapi.operations(document):
        pattern = re.compile(re.sub(r"{\w+}", "[^/]+", path))
        if not any(verb == method.upper() and pattern.fullmatch(called) for verb, called in shown):
            missing.append((method.upper(), path))
    assert missing == []
