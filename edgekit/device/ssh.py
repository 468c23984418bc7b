"""A device over the system's OpenSSH client, with the user's own configuration, agent, jump hosts and known hosts.

One `ssh` process and one channel carry everything: the far end speaks through its standard input and output. A master
connection that the user has open is used; none is made. Nothing can ask a question: what would is an error.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from edgekit.device.address import SshAddress
from edgekit.device.channel import TOO_OLD, Channel, far_end_words
from edgekit.device.printable import last_line
from edgekit.device.remote import RemoteDevice, RemoteOptions
from edgekit.errors import DeviceError, EdgekitError, MissingDependency

_CONNECT_SECONDS = 15
_OF_SSH = 255  # exit code of ssh itself; any other is that of the remote command
_OPTIONS = (
    "BatchMode=yes",
    f"ConnectTimeout={_CONNECT_SECONDS}",
    "ServerAliveInterval=10",
    "ServerAliveCountMax=3",
    "ControlMaster=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "RemoteCommand=none",
    "PermitLocalCommand=no",
)


class SshDevice(RemoteDevice):
    """A device at `ssh://user@host:port`; the host may be a name from the user's ssh configuration."""

    def __init__(
        self,
        address: SshAddress,
        options: RemoteOptions | None = None,
        *,
        name: str | None = None,
        identity: Path | None = None,
        config: Path | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        label = name or str(address)
        options = options or RemoteOptions()
        argv = ssh_argv(address, far_end_words(options.python), identity, config)
        target = f"{shlex.join(_chosen(identity, config))} {address.words}".lstrip()
        super().__init__(
            label, lambda: Channel(argv, label, lambda *how: ssh_error(label, target, options, *how)), options, say
        )


def ssh_argv(
    address: SshAddress, remote_words: str, identity: Path | None = None, config: Path | None = None
) -> list[str]:
    """The command that connects; the address has been checked, so no word of it can be taken for an option."""
    return [
        *("ssh", "-T"),
        *_chosen(identity, config),
        *(() if identity is None else ("-o", "IdentitiesOnly=yes")),  # or an agent's keys come first, perhaps too many
        *(word for option in _OPTIONS for word in ("-o", option)),
        *(() if address.port is None else ("-p", str(address.port))),
        *(() if address.user is None else ("-l", address.user)),
        *("--", address.host, remote_words),
    ]


def _chosen(identity: Path | None, config: Path | None) -> tuple[str, ...]:
    """The options of `ssh`, and of `ssh-copy-id`, for a configuration and a key that are named."""
    return (
        *(() if config is None else ("-F", str(config.expanduser()))),
        *(() if identity is None else ("-i", str(identity.expanduser()))),
    )


def ssh_error(
    name: str, target: str, options: RemoteOptions, code: int | None, said: str, greeted: bool
) -> EdgekitError:
    """The error for an `ssh` that ended with `code` and said `said`, before or after the far end had answered.

    `target` is what stands behind `ssh` where a user connects by hand.
    """
    if greeted:
        why = f": {last_line(said)}" if said else ""
        return DeviceError(
            f"{name}: the connection was lost, or the far end was killed{why}",
            "look whether the device rebooted, ran out of memory or left the network, and run again; "
            "what ran there ends by itself within a minute",
        )
    if code in (126, 127):  # the shell there did not start it, for what may also be "Permission denied"
        return MissingDependency(
            f"{name} has no {options.python} that can be run",
            '`sudo apt install python3` there, or name its Python in the devices file (`python = "/path"`)',
        )
    if code == TOO_OLD:
        return MissingDependency(f"{name}: its {options.python} is older than 3.8", "install a newer Python there")
    for words, problem, mend in _KNOWN if code == _OF_SSH else ():
        if any(word in said for word in words):
            who = _jump_host(said) or target
            return DeviceError(f"{name}: {problem} ({_telling(said, words)})", mend.format(target=who))
    return DeviceError(
        f"{name}: no far end over ssh (exit code {code}): {last_line(said) or 'nothing was said'}",
        f"see whether `ssh {target} {options.python} --version` works",
    )


# What OpenSSH says (sshconnect.c, readconf.c, ssh.c), what it means, what to do.
_KNOWN = (
    (
        ("REMOTE HOST IDENTIFICATION HAS CHANGED", "HOST IDENTIFICATION HAS CHANGED"),
        "its host key is another one than before: a new system on the board, or not your board at all",
        "if you know why, remove the line of the old key that ssh names, then connect once with `ssh {target}`",
    ),
    (
        ("Host key verification failed", "host key is known"),
        "its host key is not known here yet",
        "connect once with `ssh {target}`, compare the fingerprint, and accept it",
    ),
    (
        ("Permission denied", "Too many authentication failures", "No more authentication methods"),
        "it refused this user or key",
        "`ssh-copy-id {target}`; a key with a passphrase must be in ssh-agent (`ssh-add`)",
    ),
    (
        ("Could not resolve hostname", "Name or service not known"),
        "no host of this name was found",
        "check the name, or use the address that the device shows with `hostname -I`",
    ),
    (
        ("Connection refused",),
        "it is there, and takes no ssh connection",
        "switch ssh on there (raspi-config, Interface Options), and check the port",
    ),
    (
        ("timed out", "No route to host", "Network is unreachable", "Host is down", "Connection reset"),
        "it cannot be reached",
        "check its power and network, and the address",
    ),
    (
        ("closed by remote host", "Connection closed by", "kex_exchange_identification"),
        "it closed the connection at once",
        "look at the log of sshd there (`journalctl -u ssh`): full, overloaded, or no ssh server on this port",
    ),
    (
        ("Bad configuration option", "Can't open user config file", "Bad owner or permissions", "terminating,"),
        "the configuration of ssh cannot be used",
        "correct what it names",
    ),
)


def _jump_host(said: str) -> str:
    """The `user@host` that refused, where `ssh` came no further than to a jump host; else empty."""
    refused = re.search(r"^([\w.-]+@[\w.:-]+): Permission denied", said, re.MULTILINE)
    return refused[1] if refused and "UNKNOWN port" in said else ""


def _telling(said: str, words: tuple[str, ...]) -> str:
    """The line that names the key on file where there is one, else the last that has one of the words.

    Behind a refusal of a jump host `ssh` says only that the connection was closed.
    """
    lines = said.splitlines()
    key = next((line.strip() for line in lines if line.startswith("Offending ")), None)
    return key or last_line("\n".join(line for line in lines if any(word in line for word in words)))
