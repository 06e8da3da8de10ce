"""What is laid into an image for its first boot: the bundle, the agent, a script that calls it, and what calls that.

The script lies in the root file system, and one of three things calls it, each the image's own way:

cloud-init   `vendor-data` on the boot partition, a shell script (NoCloud; Raspberry Pi OS from trixie on, Ubuntu). The
             user's own user-data stays as it is, and cannot displace it as one `runcmd` displaces another.
firstrun     `systemd.run=` in cmdline.txt, as Raspberry Pi OS up to bookworm calls its firstrun.sh
             (systemd-run-generator(8)): nothing else runs in that boot, and the board restarts behind it.
unit         a systemd unit that is enabled in the image, for every other system.

cloud-init calls a script once, even if the power goes meanwhile; so its script enables the unit, which stays enabled
until the work is done. In cmdline.txt the words stay there as long. After three boots without an end it is given up.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..agent.protocol import PROTOCOL
from ..devicebase import MADE

Way = Literal["cloud-init", "firstrun", "unit"]
WAYS: tuple[Way, ...] = ("cloud-init", "firstrun", "unit")
PYTHON = "/usr/bin/python3"
#: What is laid down until the first boot is done.
HERE = "/opt/edgekit-image"
BUNDLE = f"{HERE}/bundle"
SCRIPT = f"{HERE}/first-boot"
LOG = "/var/log/edgekit-first-boot.log"
#: The log's copy, for whoever has no way to the board but its card.
LOG_COPY = "edgekit-first-boot.log"
UNIT = "edgekit-first-boot.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
UNIT_LINK = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"
CMDLINE, VENDOR_DATA, META_DATA = "cmdline.txt", "vendor-data", "meta-data"
#: Another edgekit is not to be expected at a first boot; somebody who tries by hand is.
_WAIT_S = 60
_RUN = f"systemd.run={SCRIPT}"
_RUN_MORE = (
    "systemd.run_success_action=reboot", "systemd.run_failure_action=reboot", "systemd.unit=kernel-command-line.target",
)  # fmt: skip

_SCRIPT = """\
#!/bin/sh
# Written by `edgekit image`. At the first boot edgekit's agent installs the bundle that lies beside this file, under
# the checks of `edgekit flash`: digests, signature, golden samples by the real runtime on this very processor.
# {log} says what came of it. After a refusal: mend what it names, then sudo {script}
here={here}; base={base}; account={account}; python={python}
log={log}; boot={boot}; copy={copy}; unit={unit}; run={run}; more={more}
made={made}

install() {{
  tries=$(cat "$here/tries" 2> /dev/null || echo 0)
  if [ "$tries" -ge 3 ]; then echo "given up: it came to no end in $tries boots"; rm -f "$here/tries"; return 1; fi
  echo $((tries + 1)) > "$here/tries" && sync
  if [ ! -f "$here/bundle/manifest.json" ]; then echo "nothing to do: no bundle in $here"; return 0; fi
  if [ -n "$account" ]; then owner=$(id -un "$account") || return 1
  else owner=$(getent passwd 1000 | cut -d : -f 1); fi
  owner=${{owner:-root}}
  if [ -z "$(ls -A "$base" 2> /dev/null)" ]; then mkdir -p "$base" && chown "$owner:" "$base" || return 1; fi
  chown -R "$owner:" "$here/bundle" || return 1
  if [ -f "$here/allowed_signers" ]; then
    cp "$here/allowed_signers" "$base/allowed_signers" && chown "$owner:" "$base/allowed_signers" || return 1
  fi
  echo "installing for $owner in $base"
  as_owner "$python" -B "$here/agent.pyz" install < "$here/install.json" || return 1
  served=0
  if [ -f "$here/service.json" ]; then "$python" -B "$here/agent.pyz" service < "$here/service.json" || served=2; fi
  for name in $made; do
    if [ -e "$base/$name" ] || [ -L "$base/$name" ]; then chown -R -h "$owner:" "$base/$name"; fi
  done
  return "$served"
}}

as_owner() {{ setpriv --reuid "$owner" --regid "$(id -g "$owner")" --init-groups -- "$@"; }}

forget() {{
  if [ -f "$boot/cmdline.txt" ] && head -n 1 "$boot/cmdline.txt" | grep -q -F "$run"; then
    sed "1s| *$run||" "$boot/cmdline.txt" > "$boot/cmdline.new"
    if ! head -n 1 "$boot/cmdline.new" | grep -q "systemd\\.run="; then
      for word in $more; do sed -i "1s| *$word||" "$boot/cmdline.new"; done
    fi
    sync && [ -s "$boot/cmdline.new" ] && mv "$boot/cmdline.new" "$boot/cmdline.txt" && sync
  fi
  systemctl disable "$unit" > /dev/null 2>&1 || rm -f /etc/systemd/system/multi-user.target.wants/"$unit"
}}

cd / && umask 022
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) edgekit's first boot" >> "$log"
install >> "$log" 2>&1
code=$?
case "$code" in
  0) end=done ;;
  2) end="installed, but not served" ;;
  *) end="not installed; the system itself is as it was" ;;
esac
echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $end" >> "$log"
tail -n 3 "$log"
if [ -d "$boot" ]; then tail -n 100 "$log" > "$boot/$copy"; fi
sync
forget
rm -f "$here/tries"
if [ "$code" -eq 0 ]; then rm -rf "$here" "/etc/systemd/system/$unit"; fi
sync
case " $(cat /proc/cmdline 2> /dev/null) " in *" $run "*) exit 0 ;; esac  # what else has to run in that boot must run
exit "$code"
"""

_UNIT = f"""\
[Unit]
Description=edgekit: the bundle that came with the image
ConditionPathExists={SCRIPT}
After=network.target cloud-init.service

[Service]
Type=oneshot
ExecStart={SCRIPT}
TimeoutStartSec=3600

[Install]
WantedBy=multi-user.target
"""

_VENDOR_DATA = f"""\
#!/bin/sh
# Written by `edgekit image`: cloud-init runs this once, behind all that user-data asks for.
systemctl enable {UNIT}
systemctl start {UNIT}
"""


@dataclass(frozen=True)
class Plan:
    """How the board is to install its bundle. `account` is None for the first user, id 1000, else root."""

    way: Way
    base: str
    python: str | None
    account: str | None
    boot: str  # where the board mounts the boot partition
    health_s: float
    service: Mapping[str, Any] | None  # the fields of the agent's command of that name


def own_files(plan: Plan) -> dict[str, str]:
    """Path in the image -> content, of what edgekit adds beside bundle and agent."""
    asked = {"protocol": PROTOCOL, "base": plan.base, "wait_s": _WAIT_S, "python": plan.python}
    install = {**asked, "bundle": BUNDLE, "health_s": plan.health_s, "allow_older": False, "service": None}
    files = {SCRIPT: script(plan), UNIT_FILE: _UNIT, f"{HERE}/install.json": _json(install)}
    if plan.service is not None:
        serve = {**asked, "scope": "system", **plan.service, "action": "install"}
        files[f"{HERE}/service.json"] = _json(serve)
    return files


def script(plan: Plan) -> str:
    """The first boot's script, for any POSIX shell."""
    names = {
        "here": HERE, "base": plan.base, "account": plan.account or "", "python": plan.python or PYTHON, "log": LOG,
        "boot": plan.boot, "copy": LOG_COPY, "unit": UNIT, "run": _RUN, "more": " ".join(_RUN_MORE), "script": SCRIPT,
        "made": " ".join(MADE),
    }  # fmt: skip
    return _SCRIPT.format(**{name: shlex.quote(value) for name, value in names.items()})


def boot_file(way: Way, cmdline: str) -> tuple[str, str] | None:
    """What is put on the boot partition, and its content; `cmdline` is what its cmdline.txt holds."""
    if way == "cloud-init":
        return VENDOR_DATA, _VENDOR_DATA
    if way == "firstrun":
        return CMDLINE, extend_cmdline(cmdline)
    return None


def extend_cmdline(cmdline: str) -> str:
    """A cmdline.txt with our words, before those of another first run: that one cuts off all from its own word on.

    systemd runs several `systemd.run=` one after the other. The firmware reads the first line: others are notes.
    """
    line, end, notes = cmdline.partition("\n")
    words = line.split()
    ours = [_RUN, *(word for word in _RUN_MORE if word.partition("=")[0] not in {w.partition("=")[0] for w in words})]
    first = next((n for n, word in enumerate(words) if re.match(r"systemd\.(run|unit)", word)), len(words))
    return " ".join([*words[:first], *ours, *words[first:]]) + (end or "\n") + notes


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True) + "\n"
