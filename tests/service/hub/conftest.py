from collections.abc import Iterator
from pathlib import Path

import pytest

from service.settings import Settings
from service.storage import Storage
from tests.hub import LOOPBACK, StandIn, stand_in


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in("datasets") as found:
        yield found


@pytest.fixture
def settings(hub: StandIn, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, hub_url=hub.url, outbound_networks=LOOPBACK)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings.storage)
