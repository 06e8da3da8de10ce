"""What ssh says when it cannot log in, as one line that says what to do (its own words: ssh.c, sshconnect.c, misc.c);
and what a device's programs say of a file that they cannot write.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from ..errors import DeviceError, EdgekitError, TransportError
from .transport import Address, Options

#: What ssh prints -> our line. The first that fits counts.
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
        "the device refuses this user or key; let it in by `{copy}`, or name another key (ssh-add, ~/.ssh/config)",
    ),
    (r"(?P<said>(Bad owner or permissions on|.*[Bb]ad configuration option|Can't open user config file).*)", "{said}"),
    (r"(?P<said>(Unable to negotiate|no matching).*)", "{said}"),
    (r"kex_exchange_identification|Connection (reset|closed)", "the device hung up before the login; try again"),
)

#: What strerror(3) says -> what to do.
_UNWRITABLE = {
    "No space left on device": "free some space there; `edgekit devices prune` removes old releases",
    "Disk quota exceeded": "free some space there; `edgekit devices prune` removes old releases",
    "Read-only file system": "remount it, or choose another folder (--base)",
    "Permission denied": "choose a folder that this user may write (--base)",
}


def explain_unwritten(address: Address, said: str, place: str) -> EdgekitError:
    """Why a file did not get to `place`, by what was said there. A known reason is the device's, else the line's."""
    for reason, advice in _UNWRITABLE.items():
        if reason in said:
            return DeviceError(f"{address}: {place} there cannot be written: {reason}; {advice}")
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    return TransportError(f"{address}: {place} there cannot be written: {last}")


def explain(address: Address, said: str, options: Options, resolved: Mapping[str, str]) -> TransportError:
    """ssh's last words as our error. `resolved` is what `ssh -G` says of the device."""
    host = resolved.get("hostname", address.host)
    port = resolved.get("port", str(address.port or 22))
    port_words = ["-p", port] if port != "22" else []
    config = ["-F", str(options.ssh_config)] if options.ssh_config else []
    login = f"{address.user}@{address.host}" if address.user else address.host
    own_port = ["-p", str(address.port)] if address.port else []
    known_hosts = resolved.get("userknownhostsfile", "~/.ssh/known_hosts").split()[0]
    facts = {
        "where": f"{host} port {port}" if port_words else host,
        "copy": shlex.join(["ssh-copy-id", *config, *own_port, login]),
        "scan": shlex.join(["ssh-keyscan", *port_words, host]),
        "login": shlex.join(["ssh", *config, *own_port, login]),
        "known_hosts": known_hosts,
        "entry": shlex.quote(f"[{host}]:{port}" if port_words else host),
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
