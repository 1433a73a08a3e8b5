"""Members of a tar put together to samples: WebDataset's rule, and what becomes of several pictures of one name.

The name up to its first dot is the sample's key, the rest the member's ending. A camera's or a scanner's
`photo.0001.jpg, photo.0002.jpg, ...` would all be one sample; each of them is a row of its own here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from conceptlib.concepts.rejects import Reject

Member = bytes | Reject
MAX_SAMPLE_BYTES = 512 << 20
"""Of the members of one name that are read."""
_MANY = 256
_MUCH = 64 << 20


@dataclass
class Sample:
    """Members that follow each other in a tar under one key, by their endings in lower case.

    Args:
        part: others of the same key come before or after.
    """

    key: str
    part: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    size: int = 0

    def add(self, ending: str, member: Member) -> None:
        """One more; what makes the sample too large is not kept, and a second one of an ending is a reject."""
        if isinstance(member, bytes) and self.size + len(member) > MAX_SAMPLE_BYTES:
            member = Reject("too-large", f"a sample of over {MAX_SAMPLE_BYTES} bytes")
        self.size += len(member) if isinstance(member, bytes) else 0
        self.members[ending] = member

    def _rank(self, ending: str) -> tuple[bool, str]:
        return isinstance(self.members[ending], Reject), ending

    def rows(self, is_image: Callable[[str], bool]) -> Iterator[tuple[str, Member, dict[str, Member]]]:
        """The rows of the sample: key, picture, and the members that may hold its caption, by ending.

        With one picture, or one whose ending has no dot (`png` beside `mask.png`), that is the row, under the sample's
        key; pictures beside it are rejects. With several, all of them with dots (`0001.jpg`, `0002.jpg`), each is a row
        under the key and its ending's beginning, with the caption of the same beginning, else the sample's.
        """
        images = [ending for ending in self.members if is_image(ending)]
        plain = sorted((ending for ending in images if "." not in ending), key=self._rank)
        if plain or (len(images) == 1 and not self.part):
            main = plain[0] if plain else images[0]
            yield self.key, self.members[main], self.members
            for other in sorted(images):
                if other != main:
                    detail = f"{main} is the sample's picture; image_column={other} takes this one"
                    yield f"{self.key}.{other}", Reject("other-picture", detail), {}
            return
        stems: dict[str, str] = {}
        for ending in images:
            stem = ending.rpartition(".")[0]
            if stem in stems:
                detail = f"{stems[stem]} of the same name is used"
                yield f"{self.key}.{ending}", Reject("other-picture", detail), {}
                continue
            stems[stem] = ending
            own = {name[len(stem) + 1 :]: found for name, found in self.members.items() if name.startswith(f"{stem}.")}
            shared = {name: found for name, found in self.members.items() if "." not in name}
            yield f"{self.key}.{stem}", self.members[ending], shared | own


def samples(members: Iterable[tuple[str, Member]]) -> Iterator[Sample]:
    """Runs of members with one key. A run of very many pictures comes in parts, so that memory holds few of them."""
    current: Sample | None = None
    for name, member in members:
        path = PurePosixPath(name)
        base, _, ending = path.name.partition(".")
        key = (path.parent / base).as_posix()
        ending = ending.lower()
        if current is not None and (current.key != key or ending in current.members):
            yield current
            current = None
        if current is None:
            current = Sample(key)
        if len(current.members) >= _MANY or current.size > _MUCH:
            last = next(reversed(current.members)).rpartition(".")[0]
            if ending.rpartition(".")[0] != last and any("." in known for known in current.members):
                current.part = True
                yield current
                current = Sample(key, part=True)
        current.add(ending, member)
    if current is not None:
        yield current
