"""The sample task: 4,000 made-up support messages about devices, by topic; the same bytes on every machine.

It is there to try edgekit without data of one's own. It is neither trivial nor solvable: messages mention other
topics in passing, are misspelt, and one in sixteen fits two topics alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

SIZES = {"train": 3200, "validation": 400, "test": 400}

#: What a message of each topic is about: phrases that stand alone, in a user's words.
SYMPTOMS = {
    "account": (
        "I cannot log in on {device}", "{device} says my password is wrong", "please unlock the user for {person}",
        "my PIN stopped working on {device}", "{person} needs access to {device}", "the reset mail never arrives",
        "two people share one login for {device}", "it asks for a code that was sent to an old phone",
        "I am locked out after {n} tries", "{person} has left, please remove their rights",
        "sign-in loops back to the start page", "how do I change the name that is shown on my profile",
        "the admin role is gone from my profile", "{device} does not recognise my badge any more",
    ),
    "billing": (
        "we were charged twice for {device}", "the invoice lists {n} units but we have fewer",
        "when does our plan renew", "please refund the order from last month", "the price on the quote was lower",
        "our card was declined though it is valid", "we need a receipt with the tax number",
        "cancel the subscription for {device}", "the discount of {n} percent is missing",
        "we still pay for {device} that was sent back", "can we pay once a year instead of every month",
        "the last payment does not show up", "the cost went up by {n} without notice",
        "send the bill to {person} from now on",
    ),
    "display": (
        "the screen of {device} stays black", "there are lines across the picture on {device}",
        "{device} is too dark to read outside", "colours look wrong on {device}", "half of the panel flickers",
        "touch does not react in the lower corner", "the text is cut off on the right side",
        "the picture is upside down since we mounted it", "a white spot grows in the middle of the glass",
        "the backlight goes off after {n} seconds", "fonts are far too small on {device}",
        "the image freezes while sound goes on", "buttons on the panel react to the wrong place",
        "the picture blinks about {n} times a minute",
    ),
    "network": (
        "{device} keeps dropping off the wifi", "{device} cannot reach the server", "no address from the router",
        "the signal at {place} is down to one bar", "pages take {n} seconds to load on {device}",
        "{device} shows up as offline", "it only connects when it stands next to the router",
        "the cable is in but the link light stays off", "our proxy seems to block {device}",
        "messages arrive {n} minutes late", "the VPN at {place} cuts out every hour",
        "it cannot find any hotspot at {place}", "pairing with the gateway fails", "calls break up at {place}",
    ),
    "power": (
        "{device} does not turn on any more", "the battery of {device} is empty after {n} minutes",
        "{device} switches off under load", "charging stops at {n} percent", "the adapter gets very hot",
        "{device} restarts when the motor starts", "nothing happens when I press the button",
        "it only runs while it is plugged in", "there is a burnt smell from the supply",
        "the charge light blinks red", "{device} died at {place} and stays dead",
        "the fuse at {place} blows whenever it starts", "it goes to sleep and never wakes up",
        "the backup cell lasts {n} minutes only",
    ),
    "sensor": (
        "the temperature on {device} is {n} degrees too high", "{device} counts people who are not there",
        "readings jump between two values", "the motion alarm at {place} goes off without reason",
        "humidity stays at {n} percent all day", "the door contact says open but it is closed",
        "{device} does not see the boxes on the belt", "the scale is off by {n} grams",
        "the smoke detector at {place} needs a new calibration", "values drift over the day",
        "it measures the same number since {when}", "the probe reports minus {n}",
        "light level reads zero at noon", "the camera on {device} no longer spots the pallets",
    ),
    "storage": (
        "{device} says there is no space left", "recordings older than {n} days are gone",
        "the memory card in {device} is not found", "files are damaged after copying",
        "the disk makes clicking noises", "I cannot save the log of {device}", "the export stops at {n} megabytes",
        "please restore the backup of {device}", "deleted pictures still take up room",
        "the archive at {place} is full again",
        "saving a report takes {n} minutes", "the folder with the recipes is empty",
        "it keeps only the last {n} entries", "the drive turned read-only",
    ),
    "update": (
        "the new firmware will not install on {device}", "{device} is stuck at {n} percent of the upgrade",
        "version {n} broke the start menu", "can we go back to the release before",
        "it asks to install the same patch every day", "{device} still runs the version from {when}",
        "the download of the new release fails its checksum",
        "please hold the rollout for {place}", "after the upgrade our settings are gone",
        "the installer ends with code {n}", "which build has the fix for {device}",
        "{device} skips every release", "the rollout reached only {n} devices", "the beta keeps coming back",
    ),
}  # fmt: skip

#: Clauses that mention a topic which the message is not about.
ASIDES = {
    "account": ("my login works", "the password is right", "I am signed in as admin", "{person} has full access"),
    "billing": ("the invoice is paid", "we pay for the big plan", "it is not about the bill",
                "our subscription is active"),
    "display": ("the screen looks normal", "the picture is fine", "the display is on", "touch works"),
    "network": ("the wifi is fine", "other things at {place} are online", "the server answers",
                "the signal is strong"),
    "power": ("the battery is full", "it is plugged in", "the adapter is new", "it has power"),
    "sensor": ("the readings are right", "the sensors are calibrated", "temperature is normal",
               "the camera sees everything"),
    "storage": ("there is plenty of space", "the disk is new", "we have a backup", "the card is half empty"),
    "update": ("it has the newest firmware", "the update went through", "we did not upgrade anything",
               "the version is current"),
}  # fmt: skip

#: Messages that two topics claim; each is filed under one of them by chance, as people do.
EITHER = (
    ("display", "power", "{device} stays dark"),
    ("display", "update", "since the upgrade the screen of {device} is black"),
    ("network", "account", "{device} cannot sign in to the wifi"),
    ("network", "update", "the download for {device} breaks off"),
    ("storage", "update", "not enough room for the new release on {device}"),
    ("storage", "billing", "we pay for more space than {device} shows"),
    ("account", "billing", "I cannot open the invoices with my login"),
    ("sensor", "power", "the probe on {device} dies when the battery is low"),
    ("sensor", "display", "{device} shows a wrong temperature"),
    ("sensor", "network", "no values from {device} at {place}"),
    ("storage", "sensor", "the values of {when} are missing on {device}"),
    ("power", "update", "{device} restarts all the time since the new version"),
    ("account", "update", "my profile is gone after the upgrade"),
    ("network", "billing", "{device} is blocked, is that the plan or the router"),
)

DEVICES = ("the gateway", "the tablet", "our kiosk", "the hand scanner", "camera {n}", "the label printer",
           "the thermostat", "controller {n}", "the tracker", "unit {n}", "the terminal", "one of the hubs", "it",
           "the box", "the new device")  # fmt: skip
PLACES = ("the lobby", "gate {n}", "line {n}", "the cold store", "room {n}", "the north dock", "our shop",
          "the workshop", "the car park", "hall {n}")  # fmt: skip
PEOPLE = ("Ana", "Jonas", "the night shift", "Priya", "a colleague", "Tomasz", "our trainee", "Mei")
TIMES = ("this morning", "Monday", "last week", "the weekend", "yesterday", "noon", "the move")
OPENINGS = ("hi,", "hello team,", "urgent:", "again:", "question:", "good morning,", "help,", "fyi,", "third time now:")
CLOSINGS = ("please advise", "thanks", "can someone look at this", "it was fine before", "what should I do",
            "happens since {when}", "ticket {n} was about the same", "we are at {place}", "this blocks our work",
            "regards, {person}", "happens about {n} times a day", "no idea why")  # fmt: skip
#: Two symptoms in one message, {a} being the one that it is about: the words alone do not tell which.
CONTRASTS = ("first {b}, that is solved, now {a}", "solved: {b}. open: {a}", "yesterday {b}, today {a}",
             "please ignore my mail '{b}', the trouble is: {a}", "we no longer have '{b}' but {a}",
             "I thought {b}, but really {a}", "{a}. my last message '{b}' is closed",
             "{a}. not to mix up with the old ticket: {b}")  # fmt: skip
JOINS = ("{a}, and {b}", "{b}, but {a}", "{a}. {b}", "{a}, though {b}", "{b}. {a}", "{a} even though {b}")

#: Shares of messages that fit two topics, that tell of an older problem too, and that mention another topic in
#: passing; and of long words that are misspelt.
SHARE_EITHER, SHARE_CONTRAST, SHARE_ASIDE, SHARE_TYPO = 0.0625, 0.12, 0.45, 0.05


def generate(seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """(text, topic) by split, no text twice. Only `Random.random` is used: Python promises that it never changes."""
    random = Random(seed)
    seen: set[str] = set()
    rows: list[tuple[str, str]] = []
    while len(rows) < sum(SIZES.values()):
        text, topic = _message(random)
        if text.casefold() not in seen:
            seen.add(text.casefold())
            rows.append((text, topic))
    starts = {"train": 0, "validation": SIZES["train"], "test": SIZES["train"] + SIZES["validation"]}
    return {split: rows[start : start + SIZES[split]] for split, start in starts.items()}


def _message(random: Random) -> tuple[str, str]:
    """One message and its topic."""
    topics = tuple(SYMPTOMS)
    if random.random() < SHARE_EITHER:
        first, second, text = _pick(random, EITHER)
        topic = first if random.random() < 0.5 else second
    else:
        topic = _pick(random, topics)
        text = _pick(random, SYMPTOMS[topic])
        other = _pick(random, tuple(t for t in topics if t != topic))
        kind = random.random()
        if kind < SHARE_CONTRAST:
            text = _join(_pick(random, CONTRASTS), text, _pick(random, SYMPTOMS[other]))
        elif kind < SHARE_CONTRAST + SHARE_ASIDE:
            text = _join(_pick(random, JOINS), text, _pick(random, ASIDES[other]))
    if random.random() < 0.4:
        text = f"{_pick(random, OPENINGS)} {text}"
    if random.random() < 0.5:
        text = f"{text}{_pick(random, ('. ', ', ', ' - '))}{_pick(random, CLOSINGS)}"
    words = [_misspelt(random, word) for word in _fill(random, text).split(" ")]
    return " ".join(words), topic


def _join(pattern: str, a: str, b: str) -> str:
    return pattern.replace("{a}", a).replace("{b}", b)


def _fill(random: Random, text: str) -> str:
    """Put devices, places, people, times and numbers in their slots; a device's own name may have a number."""
    for slot, values in (("{device}", DEVICES), ("{place}", PLACES), ("{person}", PEOPLE), ("{when}", TIMES)):
        while slot in text:
            text = text.replace(slot, _pick(random, values), 1)
    while "{n}" in text:
        text = text.replace("{n}", str(2 + int(random.random() * 96)), 1)
    return text


def _misspelt(random: Random, word: str) -> str:
    """Sometimes a long word with two letters swapped, one lost or one doubled."""
    if random.random() >= SHARE_TYPO or len(word) < 5 or not word.isalpha():
        return word
    at = 1 + int(random.random() * (len(word) - 2))
    kind = random.random()
    if kind < 0.4:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at + 1 :] if kind < 0.7 else word[:at] + word[at] + word[at:]


def _pick(random: Random, values: Sequence[T]) -> T:
    return values[int(random.random() * len(values))]
