"""From a sentence to what it asks for. Never fails: what isn't understood is named, in order, once each."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace

from studio.scene.toybox.vocabulary import LONGEST, LONGEST_CHINESE, WORDS

MOST_THINGS = 12
"""Different things in a scene at most."""

_SOME = 3
"""How many a plural is that has no number."""

_SHARED = ("on", "above", "around")
"""Relations that all things of a list have: "a cup and a lamp on a table"."""

_TOKEN = re.compile(r"[\u3400-\u9fff]+|[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[,.;:!?。、]|[^\s\w]", re.UNICODE)
_STOPS = frozenset(",.;:!?。、")
_COMMA = frozenset(",、")


@dataclass(frozen=True)
class Thing:
    """A thing, or some of a kind, as asked for.

    Args:
        kind: a key of `studio.scene.toybox.scene.FORMS`.
        colour, material, pattern: names, or "" where none was asked for.
        size: 1 where none was.
        relation: how it is placed to `target`, or "".
        target: the number of another thing, or -1.
    """

    kind: str
    count: int = 1
    size: float = 1.0
    colour: str = ""
    material: str = ""
    pattern: str = ""
    relation: str = ""
    target: int = -1


@dataclass(frozen=True)
class Sentence:
    """What was understood of a prompt.

    Args:
        light, floor: names, or "".
        floor_colour, backdrop: names of colours, or "".
        unknown: the words that weren't understood, in order, once each.
        left_out: things that were understood and are more than `MOST_THINGS`.
    """

    things: tuple[Thing, ...] = ()
    light: str = ""
    floor: str = ""
    floor_colour: str = ""
    backdrop: str = ""
    shiny: bool = False
    unknown: tuple[str, ...] = ()
    left_out: int = 0


def parse(prompt: str) -> Sentence:
    """What the prompt asks for. Takes any text of any length; control characters count as spaces."""
    reader = _Reader()
    for sort, meaning, text in _words(prompt):
        reader.read(sort, meaning, text)
    return reader.sentence()


def _words(prompt: str) -> list[tuple[str, object, str]]:
    """(sort, meaning, text) of each word, the longest phrase first; unknown ones with the sort ``unknown``."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn") or c == "\ufe0f" else c
                    for c in unicodedata.normalize("NFKC", prompt.replace("\u2019", "'")))  # fmt: skip
    tokens = _TOKEN.findall(clean.lower())
    found: list[tuple[str, object, str]] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if "\u3400" <= token[0] <= "\u9fff":
            _read_chinese(token, found)
            i += 1
            continue
        for n in range(min(LONGEST, len(tokens) - i), 0, -1):
            known = WORDS.get(tuple(tokens[i : i + n]))
            if known is not None:
                found.append((*known, " ".join(tokens[i : i + n])))
                i += n
                break
        else:
            if token in _STOPS:
                found.append(("comma" if token in _COMMA else "stop", None, token))
            elif token.isdigit():
                found.append(("count", min(int(token[:6]), 99), token))
            elif unicodedata.category(token[0])[0] in "LNS":
                found.append(("unknown", None, token))
            i += 1
    return found


def _read_chinese(run: str, found: list[tuple[str, object, str]]) -> None:
    unknown, i = "", 0
    while i < len(run):
        for n in range(min(LONGEST_CHINESE, len(run) - i), 0, -1):
            known = WORDS.get((run[i : i + n],))
            if known is not None:
                if unknown:
                    found.append(("unknown", None, unknown))
                    unknown = ""
                found.append((*known, run[i : i + n]))
                i += n
                break
        else:
            unknown += run[i]
            i += 1
    if unknown:
        found.append(("unknown", None, unknown))


@dataclass
class _Reader:
    """Reads word after word; what was said before a noun belongs to it, a relation waits for its other end."""

    things: list[Thing] = field(default_factory=list)
    said: dict[str, object] = field(default_factory=dict)
    place: dict[str, object] = field(default_factory=dict)
    unknown: dict[str, None] = field(default_factory=dict)
    left_out: int = 0
    waiting: tuple[str, str, int] | None = None
    """("target", relation, subject): the next thing is what the subject is placed by. ("subject", relation, target):
    the next thing is placed by the target. ("first", relation, -1): the next thing is the target of the one after."""
    chain: list[int] = field(default_factory=list)
    """Things joined by "and" so far: "a cup and a lamp on a table" has both on it."""
    joined: bool = False
    listed: bool = False
    """The last thing was joined by "and", not only by a comma."""
    again: tuple[str, str, int] | None = None
    at: int = -1
    """The thing before "在", which is placed by the thing after it."""
    last: str = ""
    after: str = ""
    """What stood before the relation."""
    of: bool = False
    lost: bool = False
    """An unknown word stands last: it may be the noun that what was said belongs to."""

    def read(self, sort: str, meaning: object, text: str) -> None:
        if self.lost and sort in ("relation", "and", "with", "comma"):
            self.said = {}
        self.lost = self.lost and sort in ("filler", "colour", "material", "pattern", "size", "count")
        if sort in ("colour", "material", "pattern", "size", "count"):
            if self.of and self.things and sort in ("colour", "material"):
                self.things[-1] = replace(self.things[-1], **{sort: meaning})
            else:
                self.said[sort] = meaning
        elif sort == "unknown":
            self.unknown.setdefault(text[:40])
            self.lost = True
        elif sort in ("floor", "light", "ground", "backdrop"):
            self._setting(sort, meaning)
        elif sort != "filler":
            getattr(self, f"_{sort}")(meaning)
        if sort not in ("filler", "unknown", "colour", "material", "pattern", "size", "count"):
            self.last = sort
        self.of = sort == "of" or (self.of and sort in ("filler", "colour"))

    def _many(self, kind: object) -> None:
        self.said.setdefault("count", _SOME)
        self._thing(kind)

    def _thing(self, kind: object) -> None:
        if len(self.things) >= MOST_THINGS:
            self.left_out += 1
            self.said = {}
            return
        said, self.said = self.said, {}
        number = len(self.things)
        thing = Thing(str(kind), **{**said, "count": max(1, int(said.get("count", 1)))})  # type: ignore[arg-type]
        self.again = None
        if self.waiting is None:
            self.chain = [*self.chain, number] if self.joined else [number]
        else:
            what, relation, other = self.waiting
            self.waiting = None
            if what == "target":
                for subject in self.chain if self.listed and relation in _SHARED else [other]:
                    if not self.things[subject].relation:
                        self.things[subject] = replace(self.things[subject], relation=relation, target=number)
                self.chain = [number]
            elif what == "subject":
                thing = replace(thing, relation=relation, target=other)
                self.again = ("subject", relation, other)
                self.chain = [number]
            else:
                self.waiting = ("subject", relation, number)
        self.listed = self.last == "and"
        self.joined = False
        self.things.append(thing)

    def _relation(self, relation: object) -> None:
        self.after = self.last
        if self.last == "relation" and self.waiting is not None:
            self.waiting = (self.waiting[0], str(relation), self.waiting[2])
        elif not self.things or (self.last in ("stop", "comma") and not self.joined):
            self.waiting = ("first", str(relation), -1)
            if self.things and self.last == "comma":
                self.waiting = ("target", str(relation), len(self.things) - 1)
        else:
            self.waiting = ("target", str(relation), len(self.things) - 1)

    def _place(self, relation: object) -> None:
        if self.last in ("thing", "many", "pronoun") and self.things:
            target = len(self.things) - 1
            if 0 <= self.at != target:
                for subject in self.chain if relation in _SHARED and self.at in self.chain else [self.at]:
                    if subject != target and not self.things[subject].relation:
                        self.things[subject] = replace(self.things[subject], relation=str(relation), target=target)
            else:
                self.waiting = ("subject", str(relation), target)
        self.at = -1
        self.chain = self.chain[:1] if self.last != "thing" else [len(self.things) - 1]

    def _at(self, _: object) -> None:
        self.at = len(self.things) - 1

    def _and(self, _: object) -> None:
        self.joined = True
        if self.waiting is not None and self.waiting[0] == "target":  # what it is placed by was not understood
            self.waiting = None
        if self.again is not None:
            self.waiting = self.again

    def _comma(self, _: object) -> None:
        if self.waiting is not None and self.waiting[0] == "target":
            self.waiting = None
        self.joined = bool(self.chain)

    def _stop(self, _: object) -> None:
        self.waiting, self.again, self.joined, self.at, self.said = None, None, False, -1, {}

    def _pronoun(self, _: object) -> None:
        if self.waiting is None or self.waiting[0] == "subject" or not self.things:
            return
        if self.after in ("thing", "many") and len(self.things) > 1:  # "a table, a lamp behind it"
            number = len(self.things) - 1
            self.things[number] = replace(self.things[number], relation=self.waiting[1], target=number - 1)
            self.waiting = None
        else:  # "a table, behind it a lamp"
            self.waiting = ("subject", self.waiting[1], len(self.things) - 1)

    def _with(self, _: object) -> None:
        if self.things:
            self.waiting = ("subject", "beside", len(self.things) - 1)

    def _of(self, _: object) -> None:
        pass

    def _setting(self, sort: str, meaning: object) -> None:
        colour, material = str(self.said.pop("colour", "")), str(self.said.pop("material", ""))
        pattern = str(self.said.pop("pattern", ""))
        if sort == "light":
            self.place["light"] = meaning
        elif sort == "backdrop":
            self.place.update({"backdrop": colour} if colour else {})
        else:
            floor = meaning or {"wood": "wood", "marble": "marble"}.get(material)
            floor = "checker" if pattern == "checkered" else floor
            floor = floor or ("plain" if colour or material else None)
            self.place.update({"floor": floor} if floor else {})
            self.place.update({"floor_colour": colour} if colour else {})
            self.place.update({"shiny": True} if material in ("glossy", "metal", "glass") else {})
        if self.waiting is not None and self.waiting[0] != "subject":
            self.waiting = None
            self.chain = []
        self.said.clear()

    def sentence(self) -> Sentence:
        return Sentence(tuple(self.things), unknown=tuple(self.unknown), left_out=self.left_out, **self.place)  # type: ignore[arg-type]
