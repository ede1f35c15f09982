"""Stores elsewhere: S3, Google Cloud Storage, Azure, the web and the Hugging Face Hub. What is read, and with what.

`WARPADAM_DATA_STORES` lists prefixes, each with the projects that may use it and the credentials that open it. Nothing
else opens a store: no variable, file or metadata service of the machine is asked for credentials, and a prefix without
any is read anonymously. Object stores are read below a listed prefix only. The web is read without being listed, until
a prefix of it is: then only such. So is the hub.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, BinaryIO
from urllib.parse import unquote, urlsplit

import fsspec
from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr, model_validator

from service.errors import InvalidRequest

HTTP = ("http", "https")
_PROTOCOLS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}
SCHEMES = (*HTTP, *_PROTOCOLS)
HUB = "hf"
_LISTED = (*SCHEMES, HUB)
_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs"}
_LOOK_AROUND = ("google_default", "cache", "cloud", "browser")
"""Tokens of gcsfs that are none: they make it look for credentials on the machine."""
_OPTIONS: dict[str, set[str]] = {
    "s3": {"key", "secret", "token", "endpoint_url", "region"},
    "gs": {"token", "project", "endpoint_url"},
    "az": {"account_name", "account_key", "sas_token", "connection_string", "tenant_id", "client_id", "client_secret"},
    "http": set(),
    "https": set(),
    HUB: {"token"},
}
_DOTS = re.compile(r"(^|[/\\])\.\.?([/\\]|$)")


def _prefix(value: str) -> str:
    """A prefix ends at a `/`, so that `s3://data` does not open `s3://data-of-others`."""
    scheme = urlsplit(value).scheme.lower()
    if scheme not in _LISTED or "::" in value:
        raise ValueError(f"a prefix begins with one of {', '.join(f'{each}://' for each in _LISTED)}")
    return _plain(value.rstrip("/") + "/")


class Store(BaseModel):
    """What lies below `prefix`: for these projects, or for all where none is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: Annotated[str, AfterValidator(_prefix)]
    projects: tuple[str, ...] = ()
    options: dict[str, SecretStr] = {}
    """s3: key, secret, token, endpoint_url, region; gs: token, project; az: account_name, account_key, and others;
    hf: token."""

    @model_validator(mode="after")
    def _known_options(self) -> "Store":
        scheme = self.prefix.split("://")[0]
        unknown = self.options.keys() - _OPTIONS[scheme]
        if unknown:
            raise ValueError(f"{scheme}:// has no option {', '.join(sorted(unknown))}")
        return self

    @property
    def is_web(self) -> bool:
        return self.prefix.startswith(("http://", "https://"))

    def closes(self, scheme: str) -> bool:
        """Whether what is open to all without a list, the web or the hub, is so no more because of this prefix."""
        return self.is_web if scheme in HTTP else scheme == HUB and self.prefix.startswith(f"{HUB}://")

    def serves(self, address: str, project: str) -> bool:
        return _plain(address).startswith(self.prefix) and (not self.projects or project in self.projects)

    def arguments(self, protocol: str) -> dict[str, Any]:
        """For fsspec; without credentials of its own the store is read anonymously."""
        given: dict[str, Any] = {name: value.get_secret_value() for name, value in self.options.items()}
        if protocol == "s3":
            region = given.pop("region", None)
            anonymous = {} if {"key", "secret"} <= given.keys() else {"anon": True}
            return {"client_kwargs": {"region_name": region} if region else {}, **given, **anonymous}
        if protocol == "gs":
            return given if given.get("token") not in (None, *_LOOK_AROUND) else {**given, "token": "anon"}
        secret = given.keys() & {"account_key", "sas_token", "connection_string", "client_secret"}
        return given if secret else {**given, "anon": True}


def store_of(uri: str, project: str, stores: Sequence[Store]) -> Store | None:
    """The listed store that an address lies in; None: it is of the web, or the hub, which are open to all.

    Raises InvalidRequest where it is none that this project may read.
    """
    scheme = urlsplit(uri).scheme.lower()
    if _DOTS.search(unquote(unquote(urlsplit(uri).path))):
        raise refused("an address holds no . or .. as a folder: write it out")
    store = max((s for s in stores if s.serves(uri, project)), key=lambda s: len(s.prefix), default=None)
    if store is None and (scheme not in (*HTTP, HUB) or any(each.closes(scheme) for each in stores)):
        raise _not_listed(scheme)
    return store


def open_object(uri: str, store: Store) -> BinaryIO:
    """The file at an address of an object store. Raises whatever fsspec does."""
    protocol = _PROTOCOLS[urlsplit(uri).scheme.lower()]
    # Not cached: a filesystem is found again by its arguments, and would live on with its credentials.
    files = fsspec.filesystem(protocol, skip_instance_cache=True, **store.arguments(protocol))
    return _file(files.open(_path(uri), "rb"))


def driver(scheme: str) -> str:
    """The package that reads a scheme."""
    return _EXTRAS.get(_PROTOCOLS.get(scheme, ""), "aiohttp")


def _not_listed(scheme: str) -> InvalidRequest:
    return refused(
        f"this server reads {scheme}:// only below the prefixes that it lists for your project "
        "(WARPADAM_DATA_STORES): ask who runs it, or upload the file"
    )


def _path(uri: str) -> str:
    """What comes after the scheme, as it is: keys of object stores are not decoded."""
    return uri.split("://", 1)[1]


def _plain(address: str) -> str:
    """An address with its scheme's usual name and its host in lowercase."""
    scheme, rest = address.split("://", 1)
    host, slash, path = rest.partition("/")
    scheme = scheme.lower()
    return f"{_PROTOCOLS.get(scheme, scheme)}://{host.lower() if scheme in HTTP else host}{slash}{path}"


def _file(opened: Any) -> BinaryIO:
    file: BinaryIO = opened
    return file


def refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The data cannot be read: {reason}.", param="uri")
