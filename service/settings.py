"""Settings of the server: built from `WARPADAM_*` by the entry points and passed down, never read at import.

What `WARPADAM_SECRETS_DIR` names is a folder of files, one for a setting, each named as its variable in lowercase: as
Docker and Kubernetes hand out secrets. Variables go before files.
"""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from service.db.limits import Limits as DatabaseLimits
from service.stores import Store

SECRETS = frozenset({"database_url", "data_stores"})
"""Fields that hold passwords: they travel to no other machine as variables, nor through Ray."""


Confinement = Literal["required", "preferred"]


class Settings(BaseSettings):
    """What every process of one service shares. Fields are read from `WARPADAM_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="WARPADAM_", frozen=True, extra="ignore")

    secrets_dir: Path | None = None
    """Folder with a file for each secret setting."""
    data_dir: Path = Path.home() / ".warpadam"
    """Folder of the embedded service: database, storage, logs."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in `data_dir`. `postgresql://` is read with psycopg 3."""
    storage_url: str = ""
    """fsspec URL for datasets, checkpoints and statistics; empty: `data_dir/storage`."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders from which datasets may be named by local path, separated by the system's path separator."""
    data_stores: tuple[Store, ...] = ()
    """Prefixes of stores from which datasets may be named by URL, with their projects and credentials; JSON."""
    hub_url: str = "https://huggingface.co"
    """The hub that `hf://` means; empty: none is asked."""
    ray_address: str = ""
    """`host:port` of a Ray cluster's GCS. Empty is an error for whoever needs Ray: nobody joins one by chance."""
    ray_namespace: str = "warpadam"
    launcher: str = "process"
    """`process`: attempts are children of the dispatcher; `ray-jobs`: submitted to Ray's Jobs API."""
    ray_dashboard_url: str = ""
    """Address of Ray's Jobs API, for the launcher `ray-jobs`."""

    host: str = "127.0.0.1"
    port: int = 8000
    auth: Literal["auto", "keys", "off"] = "auto"
    """`auto`: on loopback a key is wanted once one was ever made, elsewhere always; `keys`: always; `off`: never, which
    only a service on loopback may say."""
    trusted_proxies: str = ""
    """Addresses of proxies whose X-Forwarded-For is believed, separated by commas; for the audit log."""
    allow_code: bool = False
    """Whether jobs may bring code of their own; docs/code.md says for whom which deployment is safe."""
    code_confinement: Confinement = "required"
    """`preferred`: nodes whose kernel cannot confine that code run it with all rights of the service's user."""
    max_upload_bytes: int = 8 * 2**30
    max_body_bytes: int = 1 * 2**20
    data_memory_bytes: int = Field(default=2**30, ge=0)
    """Arrays of a dataset larger than this lie in mapped files, `data_dir/scratch`, instead of in memory."""
    keep_warps_bytes: int = Field(default=2**30, ge=0)
    """Versions of P that the API has read from the database and keeps in `data_dir/kept`; 0: none."""
    inspect_at_once_bytes: int = Field(default=32 * 2**20, ge=0)
    """Uploads up to this size are inspected before they are answered; larger ones after."""

    outbound_networks: Annotated[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...], NoDecode] = ()
    """Private networks that webhooks and datasets by HTTP may reach, separated by commas."""
    outbound_ports: Annotated[tuple[int, ...], NoDecode] = (80, 443, 8080, 8443)
    """Ports of public addresses that these may reach, separated by commas."""
    webhooks_http: bool = False
    """Whether webhooks may go over plain HTTP."""

    requests_per_minute: int = Field(default=6000, ge=0)
    """Of a project, by each API process; 0: no limit. Requests that need no key are not counted."""
    quota_running_jobs: int | None = Field(default=None, ge=0)
    quota_queued_jobs: int | None = Field(default=None, ge=0)
    quota_storage_bytes: int | None = Field(default=None, ge=0)
    quota_gpu_seconds: int | None = Field(default=None, ge=0)
    """Of a project, in a calendar month. None: no limit; a project's own row may say otherwise."""
    database_patience_s: float = Field(default=300.0, ge=0)
    """Attempts and meta-learners wait so long for a database that is away, before they fail."""

    database_statement_s: float = Field(default=60.0, ge=0)
    """PostgreSQL ends a statement that takes longer; 0: none. Checks, backups and migrations have no limit."""
    database_lock_s: float = Field(default=30.0, gt=0)
    """So long a statement waits for a lock there."""
    database_idle_s: float = Field(default=60.0, ge=0)
    """PostgreSQL ends a connection that stands still within a transaction for longer; 0: none."""

    poll_s: float = Field(default=0.1, gt=0)
    """Seconds between the dispatcher's looks at the queue."""
    lease_s: float = Field(default=30.0, gt=0)
    """An attempt whose heartbeat is older than this has lost its lease."""
    start_s: float = Field(default=120.0, gt=0)
    """What an attempt has, beside that, for its first heartbeat: its program and its data are loaded first."""
    heartbeat_s: float = Field(default=1.0, gt=0)
    grace_s: float = Field(default=15.0, gt=0)
    """Seconds between asking an attempt to stop and ending its process group."""
    stall_s: float = Field(default=900.0, gt=0)
    """An attempt whose step counter stands still for so long is ended and tried again."""
    queue_patience_s: float = Field(default=60.0, ge=0)
    """Smaller jobs may pass one that is too large for now for so long; then room is made for it."""
    fair_share_half_life_s: float = Field(default=3600.0, gt=0)
    """What a project used of the cluster so long ago counts half where its turn is decided."""
    elastic_every_s: float = Field(default=60.0, ge=0)
    """An elastic job is given more workers, or fewer for others, at most so often: each change restarts them."""
    publish_every_s: float = Field(default=30.0, ge=0)
    """At most one version per family in this time while its jobs run."""
    max_log_bytes: int = Field(default=16 * 2**20, ge=2**20)
    """Of what an attempt prints more than this, the newest is kept."""
    max_service_log_bytes: int = Field(default=64 * 2**20, ge=2**20)
    """Of each log of `serve`'s own parts, and of each of Ray's, older files included."""
    checkpoints_keep_every: int = Field(default=1, ge=0)
    """Beside its best and its last, every so many of a job's checkpoints are kept; 0: no others."""
    keep_logs_days: float = Field(default=30, ge=0)
    """Days after a job's end; 0: for ever."""
    keep_events_days: float = Field(default=0, ge=0)
    keep_metrics_days: float = Field(default=0, ge=0)
    gc_every_s: float = Field(default=3600.0, gt=0)
    """Between two looks for what is to be kept no more."""
    gc_grace_s: float = Field(default=86_400.0, ge=0)
    """A file that nothing names is removed after so long: longer than any upload or download takes."""
    learner_idle_s: float = Field(default=600.0, gt=0)
    """A family's meta-learner with nothing to do for this long is ended; it comes back from the database."""
    max_axis: int = Field(default=512, ge=1)
    """Axes longer than this get no matrix."""
    max_contribution_bytes: int = 16 * 2**20
    match_timeout_s: float = Field(default=600.0, gt=0)
    """What it may take to measure which families' P suit some data."""
    warps_keep: int = Field(default=100, ge=0)
    """Of a family's versions of P so many of the newest keep their file; 0: all. What is in use always does."""
    starts_keep: int = Field(default=10, ge=0)
    """The same for its starts, for each architecture and base."""
    keep_pinned_days: float = Field(default=30, ge=0)
    """So long after its end what a job began with keeps its file."""
    warm_runner: bool = True
    """Keep one runner imported and connected for the next job."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = os.environ.get("WARPADAM_SECRETS_DIR")
        if not folder:
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("outbound_networks", "outbound_ports", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    def without_secrets(self) -> "Settings":
        """For a process that finds them in a `secrets_dir` of its own (`with_secrets`); without that, unchanged."""
        return self if self.secrets_dir is None else self.model_copy(update={"database_url": "", "data_stores": ()})

    def with_secrets(self) -> "Settings":
        """The same with what is in `secrets_dir`, on this machine."""
        if self.secrets_dir is None:
            return self
        found = SecretsSettingsSource(type(self), secrets_dir=self.secrets_dir)()
        return self.model_validate({**self.__dict__, **{name: found[name] for name in SECRETS & found.keys()}})

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        host = self.host.strip("[]")
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def database(self) -> str:
        """The database's URL with its driver named."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'warpadam.db'}"
        for scheme in ("postgresql://", "postgres://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        return self.database_url

    @property
    def database_limits(self) -> DatabaseLimits:
        """For connections of whoever serves: the API, the dispatcher, runners, meta-learners."""
        return DatabaseLimits(self.database_statement_s, self.database_lock_s, self.database_idle_s)

    @property
    def scratch(self) -> Path:
        """Folder of files that processes map while they read a dataset; they have no name there."""
        return self.data_dir / "scratch"

    @property
    def storage(self) -> str:
        """The storage's root as an fsspec URL."""
        return self.storage_url or str(self.data_dir / "storage")
