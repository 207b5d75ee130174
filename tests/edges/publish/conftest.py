"""A log's history, and the parts of other rooms that serve it."""

from tests.edges.api.conftest import gate, public, start  # noqa: F401 - fixtures
from tests.edges.store.conftest import migrated, sequencer, stand  # noqa: F401 - fixtures
