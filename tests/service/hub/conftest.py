from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.storage import Storage
from tests.hub import LOOPBACK, StandIn, stand_in
from tests.require import require_module


@pytest.fixture
def hub() -> Iterator[StandIn]:
    require_module("datasets", "pip install 'warpadam[huggingface]'")
    with stand_in() as found:
        yield found


@pytest.fixture
def settings(hub: StandIn, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, hub_url=hub.url, outbound_networks=LOOPBACK)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings.storage)
