"""The signer's clock: it remembers over restarts, and halts whoever asks once it was set."""

from datetime import timedelta

import pytest

from attestor.anchor.clockfile import NAME, SteadyClock
from attestor.app.clock import now
from attestor.core.errors import Halted

MONTH = timedelta(days=31)


class Wall:
    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return now() + self.ahead


def refused(code, call):
    with pytest.raises(Halted) as raised:
        call()
    assert raised.value.code == code


@pytest.mark.parametrize("ahead", [MONTH, -MONTH], ids=["a month ahead", "a month back"])
def test_a_clock_that_is_set_halts_at_once_and_after_a_restart(tmp_path, ahead):
    wall = Wall()
    clock = SteadyClock(tmp_path, wall)
    assert abs(clock.now() - now()) < timedelta(seconds=5)
    clock.keep()
    wall.ahead = ahead
    refused("clock-jumped", clock.now)
    refused("clock-jumped", clock.keep)
    refused("clock-jumped", lambda: SteadyClock(tmp_path, wall))
    (tmp_path / NAME).unlink()
    assert SteadyClock(tmp_path, wall).now() - now() > ahead - timedelta(seconds=5), "a person has looked"


def test_a_file_that_cannot_be_read_halts(tmp_path):
    (tmp_path / NAME).write_bytes(b'{"boot":1}')
    refused("clock-unreadable", lambda: SteadyClock(tmp_path, Wall()))


def test_a_second_process_goes_on_from_what_the_first_one_kept(tmp_path):
    SteadyClock(tmp_path, Wall()).keep()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    SteadyClock(tmp_path, Wall()).keep()
