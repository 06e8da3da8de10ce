"""What ssh was heard to say (OpenSSH 8.4 to 10.0), and what edgekit makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.transports import Options, parse_address
from edgekit.transports.ssh_faults import explain

CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Someone could be eavesdropping on you right now (man-in-the-middle attack)!
It is also possible that a host key has just been changed.
The fingerprint for the ED25519 key sent by the remote host is
SHA256:pZ5VyyFqTqPRp8Tb3kAYHv3zq0Q5mN0YQkWlZ8sB2vE.
Please contact your system administrator.
Add correct host key in /home/me/my hosts to get rid of this message.
Offending ED25519 key in /home/me/my hosts:7
  remove with:
  ssh-keygen -f "/home/me/my hosts" -R "[kitchen.local]:2222"
Host key for [kitchen.local]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("ssh: Could not resolve hostname kitchen.local: Name or service not known", "'kitchen.local' is not known"),
        (
            "ssh: Could not resolve hostname kitchen.local: Temporary failure in name resolution",
            "'kitchen.local' is not known",
        ),
        (
            "ssh: connect to host kitchen.local port 2222: Connection refused",
            "connection refused at kitchen.local port 2222",
        ),
        ("ssh: connect to host kitchen.local port 2222: Connection timed out", "no answer within 10 s"),
        ("Connection timed out during banner exchange\nConnection to 1.2.3.4 port 2222 timed out", "no answer within"),
        ("ssh: connect to host kitchen.local port 2222: No route to host", "cannot be reached from this network"),
        ("ssh: connect to host kitchen.local port 2222: Network is unreachable", "cannot be reached from this network"),
        (
            "No ED25519 host key is known for [kitchen.local]:2222 and you have requested strict checking.\n"
            "Host key verification failed.",
            "then: ssh-keyscan -p 2222 kitchen.local >> /home/me/hosts",
        ),
        ("Host key verification failed.", "its host key is not known here"),
        (CHANGED, "ssh-keygen -f '/home/me/my hosts' -R '[kitchen.local]:2222'"),
        ("pi@kitchen.local: Permission denied (publickey,password).", "`ssh-copy-id -p 2222 pi@kitchen.local`"),
        ("Received disconnect from 1.2.3.4 port 22:2: Too many authentication failures", "refuses this user or key"),
        ("Bad owner or permissions on /home/me/.ssh/config", "Bad owner or permissions on /home/me/.ssh/config"),
        (
            "/home/me/.ssh/config: line 3: Bad configuration option: hostnam",
            "line 3: Bad configuration option: hostnam",
        ),
        (
            "Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-dss",
            "no matching host key type found. Their offer: ssh-dss",
        ),
        ("kex_exchange_identification: Connection closed by remote host", "hung up before the login"),
        ("something new", "ssh could not log in: something new"),
        ("", "ssh could not log in: it said nothing"),
    ],
)
def test_each_becomes_one_line_that_says_what_to_do(said: str, expected: str) -> None:
    resolved = {"hostname": "kitchen.local", "port": "2222", "userknownhostsfile": "/home/me/hosts /home/me/hosts2"}
    line = str(explain(parse_address("pi@kitchen.local:2222"), said, Options(), resolved))
    assert line.startswith("pi@kitchen.local:2222: ")
    assert expected in line
    assert "\n" not in line


def test_a_name_of_the_users_configuration_is_resolved_for_the_advice() -> None:
    """What ssh -G says counts for keys; the name counts for a login."""
    resolved = {"hostname": "10.0.0.7", "port": "22", "userknownhostsfile": "~/.ssh/known_hosts"}
    options = Options(ssh_config=Path("/etc/lab.conf"))
    unknown = str(explain(parse_address("kitchen"), "Host key verification failed.", options, resolved))
    assert "ssh-keyscan 10.0.0.7 >> ~/.ssh/known_hosts" in unknown
    refused = str(explain(parse_address("kitchen"), "Permission denied (publickey).", options, resolved))
    assert "`ssh-copy-id -F /etc/lab.conf kitchen`" in refused
