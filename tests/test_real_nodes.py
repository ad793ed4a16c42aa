"""Guards against real nodes that start without root, disturb a run that goes on, or stay behind when one was killed.

What they do once they run is for `make test-node`.
"""

import fcntl
import os
import socket
import time
from pathlib import Path

import pytest

from tools import apt
from tools.real import guest_agent, leftovers, packages, site
from tools.real.guest_agent import GuestAgent, GuestAgentError
from tools.real.packages import RealNodesError, require_root


@pytest.fixture
def lock(monkeypatch, tmp_path):
    """The file by which runs on this machine know of each other."""
    monkeypatch.setattr(site, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(site, "FOLDER", tmp_path / "checkout/.kmm/real")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    return tmp_path / "lock"


@pytest.fixture
def removed(monkeypatch):
    """The folders of which what is left is removed."""
    folders = []
    monkeypatch.setattr(leftovers, "remove", lambda folder, tools: folders.append(folder))
    monkeypatch.setattr(leftovers, "remove_cgroups", folders.append)
    return folders


def test_without_root_it_says_who_must_run_it(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RealNodesError, match=r"need root.*sudo"):
        require_root()


def test_where_none_ever_ran_nothing_is_left(lock):
    assert not site.anything_left()
    lock.write_text("/another/checkout/.kmm/real")
    assert site.anything_left()


def test_what_is_left_of_another_checkout_is_removed_too(lock, removed):
    lock.write_text("/another/checkout/.kmm/real")
    site.remove_leftovers(tools=None)
    assert set(removed) == {site.FOLDER, Path("/another/checkout/.kmm/real")}
    assert not lock.read_text()


def test_what_is_left_of_workers_that_were_killed_is_removed_too(lock, removed, tmp_path):
    checkouts = (site.FOLDER.parent, tmp_path / "another/.kmm")
    for folder in checkouts:
        (folder / "lanes/one/real").mkdir(parents=True)
    lock.write_text(str(checkouts[1] / "real"))
    site.remove_leftovers(tools=None)
    for folder in checkouts:
        assert folder / "lanes/one/real" in removed
        assert not (folder / "lanes").exists()


def test_nodes_of_another_checkout_that_run_are_left_alone_and_whoever_wants_to_end_them_is_told_how(
    lock, removed, monkeypatch, tmp_path
):
    lock.write_text(str(tmp_path))
    monkeypatch.setattr(leftovers, "alive", lambda folder: folder == tmp_path)
    with pytest.raises(RealNodesError, match=rf"cd {tmp_path.parent.parent} && sudo .*tools.real down"):
        site.remove_leftovers(tools=None)
    assert not removed
    assert lock.read_text()


@pytest.mark.parametrize("how", [fcntl.LOCK_EX, fcntl.LOCK_SH], ids=["nodes", "workers"])
def test_a_run_that_goes_on_is_left_alone(lock, removed, how):
    with lock.open("w") as held:
        fcntl.flock(held, how)
        with pytest.raises(RealNodesError, match="Another run"):
            site.remove_leftovers(tools=None)
    assert not removed


def test_a_machine_without_power_has_no_guest_agent(tmp_path):
    agent = GuestAgent(tmp_path / "agent.sock")
    assert not agent.is_up()
    with pytest.raises(GuestAgentError, match="guest-exec: the guest agent of the virtual machine does not answer: "):
        agent.run("true")


def test_a_machine_whose_kernel_hangs_is_said_not_to_answer(monkeypatch, tmp_path):
    monkeypatch.setattr(guest_agent, "_ANSWER_WITHIN_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as qemu:  # which takes connections whatever the machine does
        qemu.bind(str(tmp_path / "agent.sock"))
        qemu.listen()
        agent = GuestAgent(tmp_path / "agent.sock")
        assert not agent.is_up()
        with pytest.raises(GuestAgentError, match="does not answer: timed out"):
            agent.run("true")


@pytest.fixture
def archive(monkeypatch, tmp_path):
    """A Debian archive that stands still as long as there is no file `reachable`; apt's tries are in `tries`."""
    program = tmp_path / "apt-get"
    program.write_text(f"#!/bin/sh\necho $* >>{tmp_path}/tries\n[ -e {tmp_path}/reachable ] || exec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_lists_of_the_archive_are_old_after_an_hour_or_when_there_are_none(monkeypatch, tmp_path):
    changed = tmp_path / "partial"
    monkeypatch.setattr(packages, "_CHANGED_BY_UPDATE", changed)
    assert packages._lists_are_old()
    changed.mkdir()
    for minutes_ago, old in ((59, False), (61, True)):
        os.utime(changed, (time.time() - minutes_ago * 60,) * 2)
        assert packages._lists_are_old() == old


def test_an_archive_that_stands_still_is_asked_again_and_then_named(archive, monkeypatch):
    monkeypatch.setattr(apt, "_WITHIN_SECONDS", 1)
    with pytest.raises(apt.AptError, match=r"apt-get update: not done within 1 s, 3 times\. Is Debian's archive"):
        apt.download("update")
    assert len((archive / "tries").read_text().splitlines()) == 3


def test_an_archive_that_answers_is_asked_once(archive):
    (archive / "reachable").touch()
    apt.download("update")
    assert len((archive / "tries").read_text().splitlines()) == 1
