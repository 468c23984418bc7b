"""A device over ssh: an `ssh` on PATH that runs the far end right here, or fails as OpenSSH does."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_models
from conftest import PathSsh
from test_local_device import alive, wait_until

from edgekit.bench.plan import plan_for
from edgekit.bench.run import measure
from edgekit.device.address import SshAddress
from edgekit.device.remote import RemoteOptions
from edgekit.device.ssh import SshDevice, ssh_argv
from edgekit.errors import DeviceError, MissingDependency, RunError


def test_the_user_keeps_his_configuration_and_nothing_can_ask() -> None:
    argv = ssh_argv(SshAddress("board", "pi", 2222), "words")
    assert argv[-3:] == ["--", "board", "words"]
    assert "BatchMode=yes" in argv
    assert argv[argv.index("-p") + 1] == "2222"
    assert not any("StrictHostKeyChecking" in word or "KnownHosts" in word for word in argv)
    assert "-F" not in argv
    named = ssh_argv(SshAddress("board"), "words", Path("k"), Path("c"))
    assert named[2:8] == ["-F", "c", "-i", "k", "-o", "IdentitiesOnly=yes"], "an agent's keys are not tried first"
    assert "IdentitiesOnly=yes" not in argv


@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_the_remote_words_mean_the_same_in_every_shell(here: PathSsh, shell: str) -> None:
    here.says(f'exec {shell} -c "$last"')
    with here.device() as device:
        assert device.hello.python == sys.version_info[:3]
    assert here.words()[-2] == "board"


def test_a_command_gives_back_its_code_and_what_it_said(here: PathSsh) -> None:
    word = f"$(touch {here.folder}/hacked); `id` 'a b'\n*"
    with here.device() as device:
        done = device.run([sys.executable, "-c", "import sys; print(sys.argv[1], end=''); sys.exit(7)", word])
        killed = device.run(["sh", "-c", "kill -SEGV $$"])
    assert done == (7, word, "")
    assert killed.returncode == -signal.SIGSEGV
    assert not (here.folder / "hacked").exists()


def test_only_the_end_of_a_flood_is_kept(here: PathSsh) -> None:
    with here.device() as device:
        done = device.run([sys.executable, "-c", "print('x' * 3_000_000 + 'end')"])
    assert done.stdout.endswith("xend\n")
    assert len(done.stdout) < 100_000


def test_time_out_kills_the_command_and_what_it_started(here: PathSsh, tmp_path: Path) -> None:
    with here.device() as device:
        started = time.monotonic()
        done = device.run(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/pid; wait"], timeout=0.5)
    assert done.returncode is None
    assert time.monotonic() - started < 10
    assert wait_until(lambda: not alive(int((tmp_path / "pid").read_text())))


def test_files_go_there_and_back_and_the_session_leaves_nothing(here: PathSsh, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 5000)
    with here.device() as device:
        there = device.push(tmp_path / "a")
        device.pull(there, tmp_path / "b")
        with pytest.raises(DeviceError, match="No such file"):
            device.pull(f"{device.scratch}/none", tmp_path / "c")
        with pytest.raises(DeviceError, match="bytes"):
            device.pull(there, tmp_path / "c", most_bytes=10)
        with pytest.raises(DeviceError, match="No such file"):
            device.push(tmp_path / "none")
        assert here.leftovers()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert not here.leftovers()
    assert not list(here.cache.glob("files/*"))


def test_a_kept_file_is_sent_once(here: PathSsh, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"m" * 1000)
    with here.device() as device:
        kept = Path(device.push(path, keep=True))
    stamp = kept.stat().st_ino
    with here.device() as device:
        assert device.push(path, keep=True) == str(kept)
        device.run(["true"])
    assert kept.stat().st_ino == stamp
    assert kept.name == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_kept_file_that_changed_on_the_device_is_not_used(here: PathSsh, tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"m" * 1000)
    with here.device() as device:
        kept = Path(device.push(path, keep=True))
        device.run(["true"])
    kept.write_bytes(b"n" * 1000)
    with here.device() as device:
        device.push(path, keep=True)
        with pytest.raises(DeviceError, match="had changed"):
            device.run(["true"])
    with here.device() as device:
        device.push(path, keep=True)
        device.run(["true"])
    assert kept.read_bytes() == path.read_bytes()


def test_a_second_measurement_takes_two_round_trips_and_the_run(here: PathSsh) -> None:
    for _ in range(2):
        with here.device() as device:
            found = measure(tiny_models.negative(), plan_for(runs=3), device)
            trips = device.round_trips
    assert trips == 3
    assert found.device == "ssh://pi@board"
    assert len(found.steady_ns) == 3


def test_one_run_at_a_time(here: PathSsh) -> None:
    with here.device(), pytest.raises(DeviceError, match="another run has the device"), here.device():
        pass
    with here.device():
        pass


def test_a_login_that_talks_is_skipped(here: PathSsh) -> None:
    here.says('echo "Welcome to the board"; echo "fortune" >&2; exec sh -c "$last"')
    with here.device() as device:
        assert device.run(["echo", "hi"]).stdout == "hi\n"


def test_a_lost_connection_is_told_and_ends_what_ran(here: PathSsh, tmp_path: Path) -> None:
    here.says(f'exec {sys.executable} {relay(here.folder)} "$last"')
    note = tmp_path / "pid"
    with here.device() as device:
        killed_once_written(here.pid(), note)
        with pytest.raises(DeviceError, match="connection was lost") as error:
            device.run(["sh", "-c", f"echo $$ > {note}; exec sleep 60"])
    assert "rebooted" in error.value.mend
    assert wait_until(lambda: not alive(int(note.read_text())))
    assert wait_until(lambda: not here.leftovers())


def killed_once_written(pid: int, note: Path) -> None:
    subprocess.Popen(["sh", "-c", f"while ! test -s {note}; do sleep 0.05; done; kill -9 {pid}"])


def relay(folder: Path) -> Path:
    """A program that carries bytes to and from the remote command, as ssh does: its death cuts both directions."""
    path = folder / "relay.py"
    path.write_text(
        "import os, subprocess, sys, threading\n"
        "child = subprocess.Popen(['sh', '-c', sys.argv[1]], stdin=-1, stdout=-1)\n"
        "def carry(source, sink):\n"
        "    while chunk := os.read(source, 65536):\n"
        "        os.write(sink, chunk)\n"
        "threading.Thread(target=carry, args=(child.stdout.fileno(), 1), daemon=True).start()\n"
        "carry(0, child.stdin.fileno())\n"
        "child.stdin.close()\n"
        "sys.exit(child.wait())\n"
    )
    return path


def test_a_killed_far_end_takes_its_command_along(here: PathSsh, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with here.device() as device:
        killed_once_written(here.pid(), note)
        with pytest.raises(DeviceError, match="connection was lost"):
            device.run([sys.executable, "-c", script])
    assert wait_until(lambda: not alive(int(note.read_text())))
    assert here.leftovers(), "nobody could remove it"
    with here.device():
        assert len(here.leftovers()) == 1, "the next session removes it"


FAILURES = {
    "Could not resolve hostname bord: Name or service not known": "no host of this name",
    "pi@board: Permission denied (publickey).": "refused this user or key",
    "Host key verification failed.": "not known here yet",
    "@ REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": "another one than before",
    "HOST IDENTIFICATION HAS CHANGED!\nOffending ECDSA key in /home/me/known_hosts:7\nHost key verification failed.": (
        "Offending ECDSA key in /home/me/known_hosts:7"
    ),
    "ssh: connect to host board port 22: Connection refused": "takes no ssh connection",
    "ssh: connect to host board port 22: No route to host": "cannot be reached",
    "ssh: connect to host board port 22: Connection timed out": "cannot be reached",
    "kex_exchange_identification: Connection closed by remote host": "closed the connection at once",
    "/home/me/.ssh/config: line 3: Bad configuration option: x": "configuration of ssh",
    "something new\x1b[2J": "something new",
}


@pytest.mark.parametrize("said", FAILURES)
def test_what_ssh_says_becomes_an_error_with_a_mend(here: PathSsh, said: str) -> None:
    (here.folder / "said").write_text(said)
    here.says(f"cat {here.folder}/said >&2; exit 255")
    with pytest.raises(DeviceError, match=FAILURES[said]) as error, here.device():
        pass
    assert error.value.mend
    assert "\x1b" not in str(error.value)


JUMP = (
    "me@jump: Permission denied (publickey).\nkex_exchange_identification: Connection closed by remote host\n"
    "Connection closed by UNKNOWN port 65535"
)


def test_a_mend_connects_as_the_device_does_and_names_the_host_that_refused(here: PathSsh) -> None:
    (here.folder / "said").write_text(JUMP)
    here.says(f"cat {here.folder}/said >&2; exit 255")
    device = SshDevice(SshAddress("board", "pi"), identity=Path("/my keys/pi"), config=Path("/c"))
    with pytest.raises(DeviceError, match=r"\(me@jump: Permission denied \(publickey\)\.\)") as error, device:
        pass
    assert "`ssh-copy-id me@jump`" in error.value.mend
    (here.folder / "said").write_text("pi@board: Permission denied (publickey).\n")
    with pytest.raises(DeviceError) as error, device:
        pass
    assert "`ssh-copy-id -F /c -i '/my keys/pi' pi@board`" in error.value.mend
    here.says("exit 1")
    with (
        pytest.raises(DeviceError) as error,
        SshDevice(SshAddress("board"), RemoteOptions("/opt/py"), config=Path("/c")),
    ):
        pass
    assert error.value.mend == "see whether `ssh -F /c board /opt/py --version` works"


def test_no_python_and_an_old_python_are_told(here: PathSsh) -> None:
    with pytest.raises(MissingDependency, match="has no nopython") as error, here.device(python="nopython"):
        pass
    assert "apt install python3" in error.value.mend
    here.says("echo 'sh: 1: /py: Permission denied' >&2; exit 126")
    with (
        pytest.raises(MissingDependency, match="has no /opt/python that can be run"),
        here.device(python="/opt/python"),
    ):
        pass
    here.says("exit 88")
    with pytest.raises(MissingDependency, match=r"older than 3\.8"), here.device():
        pass


def test_no_ssh_is_told(here: PathSsh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DeviceError, match="cannot start ssh"), here.device():
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize(
    ("mount", "words", "mend"),
    [("size=64k", "cache: No space left", "free space"), ("ro", "Read-only file system", "for writing")],
)
def test_a_full_or_read_only_disk_is_told(here: PathSsh, tmp_path: Path, mount: str, words: str, mend: str) -> None:
    here.cache.mkdir()
    script = f'mount -t tmpfs -o {mount} none {here.cache} && exec sh -c "$0"'
    here.says(f"exec unshare -m --propagation private sh -c '{script}' \"$last\"")
    (tmp_path / "large").write_bytes(bytes(1_000_000))
    with pytest.raises(DeviceError, match=words) as error:
        push_one(here.device(), tmp_path / "large")
    assert mend in error.value.mend


def test_memory_that_the_device_does_not_have_is_told(here: PathSsh) -> None:
    here.says('ulimit -v 4000000; exec sh -c "$last"')
    with here.device() as device:
        with pytest.raises(RunError, match="out of memory") as error:
            measure(tiny_models.negative((1, 2**30)), plan_for(runs=3), device)
        assert "smaller" in error.value.mend
        assert len(measure(tiny_models.negative(), plan_for(runs=3), device).steady_ns) == 3


def test_a_model_that_crashes_the_runtime_leaves_the_device_usable(here: PathSsh) -> None:
    with here.device() as device:
        with pytest.raises(RunError, match=r"crashed the interpreter on ssh://pi@board \(SIG") as error:
            measure(tiny_models.crashing(), plan_for(runs=3), device)
        assert "--no-xnnpack" in error.value.mend
        assert len(measure(tiny_models.negative(), plan_for(runs=3), device).steady_ns) == 3


def push_one(closed: SshDevice, path: Path) -> None:
    with closed as device:
        device.push(path, keep=True)
        device.run(["true"])


HELLO = (
    '{"version":1,"python":[3,11,2],"executable":"/p","machine":"aarch64","bits":64,"glibc":"2.36",'
    '"packages":{"ai-edge-litert":"2.3.0","numpy":"2.4.6"},"files_folder":"/f","runtimes_folder":"/r","scratch":"/s",'
    '"files":[],"runtimes":[]}'
)


@pytest.mark.parametrize(
    "answer",
    [
        "not json",
        "null",
        "{}",
        HELLO.replace('"version":1', '"version":2'),
        HELLO.replace('"/s"', '"\\u001b[2J"'),
        HELLO.replace("[3,11,2]", "[3,11]"),
        HELLO.replace('"/f"', "1"),
        HELLO.replace('"2.36"', '"2.36/../../../x"'),
        HELLO.replace('"aarch64"', '"../aarch64"'),
        HELLO.replace('"aarch64"', '"aarch64\\n"'),
        "[" * 100_000,
        '{"error":{"kind":1}}',
    ],
)
def test_a_hello_that_does_not_fit_is_not_believed(here: PathSsh, answer: str) -> None:
    (here.folder / "answer").write_text(f"\nedgekit-remote-1\n{answer}\n")
    here.says(f"cat {here.folder}/answer; cat >/dev/null")
    with pytest.raises(DeviceError, match="cannot be believed") as error, here.device():
        pass
    assert "\x1b" not in str(error.value)


def test_a_far_end_that_talks_without_end_is_cut_off(here: PathSsh) -> None:
    for start in ("", "\nedgekit-remote-1\n"):
        (here.folder / "start").write_text(start)
        here.says(f"cat {here.folder}/start; yes | tr -d '\\n'")
        with pytest.raises(DeviceError, match="cannot be believed"), here.device():
            pass


def test_a_device_that_sends_more_than_was_asked_is_refused(here: PathSsh, tmp_path: Path) -> None:
    (here.folder / "answer").write_text(f'\nedgekit-remote-1\n{HELLO}\n{{"size":1000000}}\n')
    here.says(f"cat {here.folder}/answer; cat >/dev/null")
    with here.device() as device, pytest.raises(DeviceError, match="at most 10"):
        device.pull("/x", tmp_path / "x", most_bytes=10)
    assert not (tmp_path / "x").exists()
