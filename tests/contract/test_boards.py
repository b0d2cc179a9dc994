"""The fencer by management board, at boards that others wrote: IPMI 2.0 and Redfish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from csnode.drivers.driver import Seat
from csnode.drivers.fencer import Fencer
from csnode.faults import Unavailable
from csnode.testing.fencer import FencerSuite
from csnode.testing.patience import patient
from roles.fabric.fencers import bmc
from roles.fabric.fencers.bmc import BmcFencer
from tests.contract import boards
from tests.contract.boards import IpmiBoard, RedfishBoard

SEAT = Seat(id="host-id", name="box", address="198.51.100.7", folder="")


def fencer_of(port: int, **more: str) -> BmcFencer:
    options = {"address": "127.0.0.1", "user": boards.USER, "password": boards.PASSWORD,
               "port": str(port)}  # fmt: skip
    return BmcFencer(options | more, SEAT)


class TestIpmi(FencerSuite):
    @pytest.fixture(autouse=True)
    def board(self, tmp_path: Path) -> Iterator[IpmiBoard]:
        with boards.ipmi_board(tmp_path) as self.made:
            yield self.made

    @pytest.fixture
    def fencer(self) -> Fencer:
        return self.fencer_with()

    def fencer_with(self, **more: str) -> Fencer:
        return fencer_of(self.made.port, protocol="ipmi", **more)

    def is_on(self) -> bool:
        return self.made.is_on()

    def break_it(self) -> None:
        self.made.sticks()

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """For those who wait in vain; the slow board needs three seconds."""
        monkeypatch.setattr(bmc, "OFF_WITHIN_S", 6.0)

    async def test_a_board_that_says_done_and_leaves_it_on_is_not_believed(
        self, fencer: Fencer
    ) -> None:
        self.made.sticks()
        with pytest.raises(Unavailable, match="was told, and does not say off"):
            await fencer.fence()
        assert self.is_on()

    async def test_a_slow_board_is_waited_for(self, fencer: Fencer) -> None:
        self.made.dawdles()
        assert await fencer.fence()
        assert not self.is_on()

    async def test_a_wrong_password_proves_nothing_and_is_not_told(self) -> None:
        with pytest.raises(Unavailable) as caught:
            await self.fencer_with(password="hunter2").fence()
        assert self.is_on()
        assert "hunter2" not in f"{caught.value.message} {caught.value.detail}"

    async def test_an_unknown_user_proves_nothing(self) -> None:
        with pytest.raises(Unavailable):
            await self.fencer_with(user="nobody").fence()
        assert self.is_on()

    async def test_a_board_that_does_not_answer_proves_nothing_and_holds_up_no_other(
        self, fencer: Fencer, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with boards.ipmi_board(tmp_path_factory.mktemp("other")) as other:
            self.made.freezes()
            answers = await asyncio.gather(
                fencer.fence(),
                fencer_of(other.port, protocol="ipmi").fence(),
                return_exceptions=True,
            )
            assert isinstance(answers[0], Unavailable)
            assert self.is_on()
            assert isinstance(answers[1], str)
            assert not other.is_on()


class TestRedfish:
    """The emulator's computer obeys after some seconds, so the suite is too hasty for it."""

    @pytest.fixture
    def board(self, tmp_path: Path) -> Iterator[RedfishBoard]:
        with boards.redfish_board(tmp_path) as board:
            yield board

    async def test_a_host_is_off_once_it_is_fenced_and_on_some_time_after_it_is_restored(
        self, board: RedfishBoard
    ) -> None:
        fencer = fencer_of(board.port, fingerprint=board.fingerprint)
        assert await fencer.power() == "on"
        assert await fencer.fence()
        assert await fencer.power() == "off"
        assert await fencer.fence()
        await fencer.restore()
        await becomes(fencer.power, "on")

    async def test_a_wrong_password_proves_nothing_and_is_not_told(
        self, board: RedfishBoard
    ) -> None:
        fencer = fencer_of(board.port, fingerprint=board.fingerprint, password="hunter2")
        with pytest.raises(Unavailable) as caught:
            await fencer.fence()
        assert "hunter2" not in f"{caught.value.message} {caught.value.detail}"
        assert await fencer_of(board.port, fingerprint=board.fingerprint).power() == "on"

    async def test_a_board_that_refuses_to_switch_off_proves_nothing(self, tmp_path: Path) -> None:
        with boards.redfish_board(tmp_path, stuck=True) as board:
            fencer = fencer_of(board.port, fingerprint=board.fingerprint)
            with pytest.raises(Unavailable):
                await fencer.fence()
            assert await fencer.power() == "on"


async def becomes(look: Callable[[], Any], wanted: str) -> None:
    async with asyncio.timeout(patient(30)):
        while await look() != wanted:
            await asyncio.sleep(0.2)
