"""Tasks that run side by side: their order, and their failures."""

import os
import signal
import time

import pool
import pytest
from command import UserError


def test_two_tasks_run_at_once_and_each_name_once(tmp_path, capfd):
    def task(name, send):
        (tmp_path / name).touch()
        end = time.monotonic() + 20
        while len([*tmp_path.iterdir()]) < 2:  # the first one waits for the second
            assert time.monotonic() < end
            time.sleep(0.01)
        send("line", f"{name} done")

    pool.run(task, ["a", "b", "c"], 2)
    assert sorted(capfd.readouterr().out.splitlines()) == ["a done", "b done", "c done"]


def test_after_a_failure_what_runs_may_finish_and_nothing_else_starts(tmp_path):
    def task(name, send):
        (tmp_path / name).touch()
        if name == "a":
            raise UserError("a is wrong.")
        time.sleep(1)
        (tmp_path / f"{name}-finished").touch()

    with pytest.raises(UserError, match=r"^a is wrong\.$"):
        pool.run(task, ["a", "b", "c"], 2)
    assert not (tmp_path / "c").exists()
    assert (tmp_path / "b").exists() == (tmp_path / "b-finished").exists()


def test_a_task_that_is_killed_gets_one_sentence():
    with pytest.raises(UserError, match=r"^a was killed, probably because the memory is full"):
        pool.run(lambda name, send: os.kill(os.getpid(), signal.SIGKILL), ["a"], 1)


def test_ctrl_c_gets_one_sentence_however_many_tasks_it_stops():
    def task(name, send):
        raise KeyboardInterrupt

    with pytest.raises(UserError) as error:
        pool.run(task, ["a", "b"], 2)
    assert str(error.value) == "Stopped. Run the same command again to continue."
