"""What ssh says when it cannot log in, as one line that says what to do. Its own words: ssh.c, sshconnect.c, misc.c."""

from __future__ import annotations

import re
import shlex

from ..errors import TransportError
from .transport import Address, Options

#: What ssh prints -> our line. The first that fits counts; {host} and {where} (its port, where given) are the device's.
_FAULTS = (
    (
        r"Could not resolve hostname (?P<name>\S+?):",
        "host name '{name}' is not known; check its spelling and the network, or give its IP address",
    ),
    (
        r"Connection refused",
        "connection refused at {where}; is the device on, and is its ssh server enabled there (sudo systemctl "
        "enable --now ssh)?",
    ),
    (
        r"Connection timed out|Operation timed out|timed out during banner exchange|Connection to \S+ port \d+ timed",
        "no answer within {seconds:g} s; is the device on and in this network? (--connect-timeout waits longer)",
    ),
    (r"No route to host|Network is unreachable", "cannot be reached from this network; is the device on?"),
    (
        r"IDENTIFICATION HAS CHANGED[\s\S]*?Offending (?P<kind>\S+) key in (?P<file>.+):(?P<line>\d+)",
        "its host key is not the one in {file} line {line}: another device or a new system at this address, or "
        "somebody in between; once you know which: ssh-keygen -f {quoted_file} -R {entry}",
    ),
    (
        r"IDENTIFICATION HAS CHANGED|REVOKED HOST KEY",
        "its host key is not the known one, or was revoked; see `{login}`",
    ),
    (
        r"host key is known for|Host key verification failed",
        "its host key is not known here; see it by `{scan} | ssh-keygen -lf -`, compare it with the device's own "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there), then: {scan} >> {known_hosts}",
    ),
    (
        r"Permission denied|Too many authentication failures",
        "the device refuses this user or key; let it in by `ssh-copy-id {where_words}`, or name another key "
        "(ssh-add, ~/.ssh/config)",
    ),
    (r"(?P<said>(Bad owner or permissions on|.*[Bb]ad configuration option|Can't open user config file).*)", "{said}"),
    (r"(?P<said>(Unable to negotiate|no matching).*)", "{said}"),
    (r"kex_exchange_identification|Connection (reset|closed)", "the device hung up before the login; try again"),
)


def explain(address: Address, said: str, options: Options) -> TransportError:
    """ssh's last words as our error."""
    host = address.host
    port = ["-p", str(address.port)] if address.port else []
    config = ["-F", str(options.ssh_config)] if options.ssh_config else []
    login = f"{address.user}@{host}" if address.user else host
    facts = {
        "where": f"{host} port {address.port}" if address.port else host,
        "where_words": shlex.join([*port, login]),
        "scan": shlex.join(["ssh-keyscan", *port, host]),
        "login": shlex.join(["ssh", *config, *port, login]),
        "known_hosts": options.ssh_options.get("UserKnownHostsFile", "~/.ssh/known_hosts"),
        "entry": shlex.quote(f"[{host}]:{address.port}" if address.port and address.port != 22 else host),
        "seconds": options.connect_s,
    }
    for pattern, line in _FAULTS:
        found = re.search(pattern, said)
        if found:
            facts.update({key: value.strip() for key, value in found.groupdict().items()})
            facts["quoted_file"] = shlex.quote(str(facts.get("file", "")))
            return TransportError(f"{address}: {line.format(**facts)}")
    last = said.strip().splitlines()
    return TransportError(f"{address}: ssh could not log in: {last[-1] if last else 'it said nothing'}")
