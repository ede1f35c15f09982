"""`warpadam keys … | projects …`: on the server, straight in its database, whether the service runs or not."""

from typing import Annotated

import typer

from warpadam.commands.output import AsJson
from warpadam.commands.server import DataDir, become_service

keys = typer.Typer(help="The service's keys, in its database on this machine.", no_args_is_help=True)
projects = typer.Typer(help="The service's projects, in its database on this machine.", no_args_is_help=True)

Quota = Annotated[str | None, typer.Option(metavar="N|none|default", show_default=False)]


@keys.command("create")
def create(
    scope: Annotated[list[str], typer.Option(help="What it may, such as jobs:write or admin; several times.")],
    project: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    expires_in: Annotated[str | None, typer.Option(help="Such as 90d, 12h or 30m; never where absent.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; its secret is shown this once, on standard output."""
    scopes = [part for each in scope for part in ("--scope", each)]
    expiry = ["--expires-in", expires_in] if expires_in else []
    become_service("keys create", data_dir, as_json, "--project", project, f"--name={name}", *scopes, *expiry)


@keys.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="Of this project only.")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the keys that were not revoked, newest first."""
    become_service("keys list", data_dir, as_json, *(["--project", project] if project else []))


@keys.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID")], data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """From now on the key opens nothing."""
    become_service("keys revoke", data_dir, as_json, key_id)


@projects.command("list")
def list_projects(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List projects and what each may have."""
    become_service("projects list", data_dir, as_json)


@projects.command("set-quota")
def set_quota(
    project: str,
    running_jobs: Quota = None,
    queued_jobs: Quota = None,
    storage_bytes: Quota = None,
    gpu_seconds: Quota = None,
    requests_per_minute: Quota = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Give a project limits of its own: a number, none, or default for the server's."""
    given = {
        "--running-jobs": running_jobs,
        "--queued-jobs": queued_jobs,
        "--storage-bytes": storage_bytes,
        "--gpu-seconds": gpu_seconds,
        "--requests-per-minute": requests_per_minute,
    }
    limits = [f"{option}={value}" for option, value in given.items() if value is not None]
    become_service("projects set-quota", data_dir, as_json, project, *limits)
