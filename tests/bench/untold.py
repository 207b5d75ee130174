"""One role whose intake tells the log nothing, to see what telling costs: ``python -m tests.bench.untold serve …``.

Nothing that it takes in can ever be signed: a signer counts no vote that the log does not name.
"""

from unittest.mock import patch

from attestor.cli.program import run
from attestor.service import record

if __name__ == "__main__":
    with patch.object(record, "told_of_intake", lambda *_intake: []):
        run()
