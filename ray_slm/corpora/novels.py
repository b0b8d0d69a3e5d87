"""Six public-domain novels by Jane Austen as sentences, read from one small Debian package.

Books stay apart from the first line on, because splits are made by book: a sentence's number in
its book is its name for ever.  Front matter, headings and editors' notes are left out.
"""

import functools
import itertools
import re
from pathlib import Path

from ray_slm.corpora.deb import read_deb_files
from ray_slm.corpora.rdata import read_lazy_load

# Our names of the books, and the names of the variables in the package.
BOOKS: dict[str, str] = {
    "emma": "emma",
    "mansfield-park": "mansfieldpark",
    "northanger-abbey": "northangerabbey",
    "persuasion": "persuasion",
    "pride-and-prejudice": "prideprejudice",
    "sense-and-sensibility": "sensesensibility",
}
_DATABASE = ("janeaustenr/data/Rdata.rdx", "janeaustenr/data/Rdata.rdb")

_HEADING = re.compile(r"(?i:volume|chapter) [IVXLC\d]+\.?|[* ]+|\*Vide .*")
_CHAPTER = re.compile(r"(?i:chapter) [IVXLC\d]+\.?")
_THE_END = re.compile(r"(?i:finis|the end)\.?|A NOTE ON THE TEXT")

# A mark that may end a sentence: closing quotes may follow it, an opening one may begin the next.
_BOUNDARY = re.compile(r"""[.!?]+["')\]]*(\s+)(?=["'(\[]*[A-Z0-9])""")
_LAST_WORD = re.compile(r"([A-Za-z]+)[.!?]+[\"')\]]*$")
_TITLES = "Mr Mrs Messrs Dr St Rev Hon Col Capt Lieut Lt Gen Esq Edw Wm"
_SHORTENED = "No Vol vol viz ult inst Jan Feb Aug Sept Oct Nov Dec"
_ABBREVIATIONS = frozenset([*_TITLES.split(), *_SHORTENED.split()])
# A name the author struck out ("the town of ----") cannot be read aloud: it becomes a dash, which
# has no place among the text symbols, so that the sentence can be told and left out.
_STRUCK_OUT = re.compile(r"-{3,}")
_DASH_BEFORE_END = re.compile(r"--(?=[\"')\]]*(?:\s|$))")
_STRUCK_OUT_SIGN = "\u2014"


def read_novel(deb: Path, book: str) -> tuple[str, ...]:
    """The sentences of one book in reading order, as printed (not yet in the text symbols)."""
    return tuple(itertools.chain.from_iterable(read_paragraphs(deb, book)))


@functools.cache
def read_paragraphs(deb: Path, book: str) -> tuple[tuple[str, ...], ...]:
    """The same sentences, paragraph by paragraph.  Raises ValueError on an unknown book."""
    if book not in BOOKS:
        raise ValueError(f"no novel is called {book!r}; there are {sorted(BOOKS)}")
    lines = _read_lines(deb)[BOOKS[book]]
    return tuple(tuple(split_sentences(paragraph)) for paragraph in paragraphs(lines))


def paragraphs(lines: list[str]) -> list[str]:
    """Paragraphs of the story itself, each on one line, emphasis and dashes taken out."""
    story, begun = [], False
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        text = " ".join(block.split())
        if _THE_END.fullmatch(text):
            break
        begun = begun or _CHAPTER.fullmatch(text) is not None
        if begun and text and not _HEADING.fullmatch(text):
            story.append(_without_typography(text))
    return story


def split_sentences(paragraph: str) -> list[str]:
    """Sentences of a paragraph; titles (Mr.), initials and lone interjections (Oh!) end none."""
    sentences, start = [], 0
    for boundary in _BOUNDARY.finditer(paragraph):
        candidate = paragraph[start : boundary.start(1)]
        if not _goes_on(candidate):
            sentences.append(candidate)
            start = boundary.end(1)
    return [s for s in (*sentences, paragraph[start:].strip()) if s]


@functools.cache
def _read_lines(deb: Path) -> dict[str, list[str]]:
    index, data = read_deb_files(deb, _DATABASE)
    return read_lazy_load(index, data)


def _without_typography(text: str) -> str:
    """Italics (_so_) lose their marks; a dash becomes a space, or nothing before a closing."""
    text = _STRUCK_OUT.sub(_STRUCK_OUT_SIGN, text.replace("_", ""))
    text = _DASH_BEFORE_END.sub("", text).replace("--", " ")
    return " ".join(text.split())


def _goes_on(candidate: str) -> bool:
    """Whether the mark at the end of ``candidate`` belongs to a word, not to a sentence."""
    match = _LAST_WORD.search(candidate)
    if match is None:
        return False
    word, mark = match[1], candidate[match.end(1)]
    if mark == "!":
        return len(candidate.split()) == 1
    is_initial = len(word) == 1 and word.isupper() and word != "I"
    return mark == "." and (word in _ABBREVIATIONS or is_initial)
