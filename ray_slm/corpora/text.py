"""The alphabet of transcripts: 52 letters, 10 digits, the space and 15 marks, 78 symbols.

``clean_text`` maps typographic marks as Libriheavy's normalizer of that name does (hyphen to
space), then replaces what is left over by a space: the paper keeps letters, digits and
punctuation only.  Runs of spaces become one, so that removed marks leave no trace.
``normalize_text`` is Libriheavy's other normalizer: capitals without punctuation.
"""

import string

MARKS = "',.;?!():<>/\"[]"
TEXT_SYMBOLS: tuple[str, ...] = tuple(
    string.ascii_uppercase + string.ascii_lowercase + string.digits + " " + MARKS
)
# Quotation marks, full-width marks, hyphen and ideographic brackets, in the normalizer's order.
_TYPOGRAPHIC = (
    "\u2019\u2018\uff0c\u3002\uff1b\uff1f\uff01\uff08\uff09\uff1a-"
    "\u300a\u300b\u3001\u201c\u201d\u3010\u3011"
)
_PLAIN = "'',.;?!(): <>/\"\"[]"
_TO_PLAIN = str.maketrans(_TYPOGRAPHIC, _PLAIN)
_ALLOWED = frozenset(TEXT_SYMBOLS)
_SPELLING = frozenset(string.ascii_letters + string.digits + "'")


def clean_text(text: str) -> str:
    """``text`` in the 78 symbols, without leading, trailing or repeated spaces.  Idempotent."""
    kept = (symbol if symbol in _ALLOWED else " " for symbol in text.translate(_TO_PLAIN))
    return " ".join("".join(kept).split())


def num_replaced(text: str) -> int:
    """How many symbols ``clean_text`` replaces by a space for want of a counterpart."""
    return sum(
        symbol not in _ALLOWED and not symbol.isspace() for symbol in text.translate(_TO_PLAIN)
    )


def normalize_text(text: str) -> str:
    """``text`` in capitals, digits and plain apostrophes, as Libriheavy's normalizer makes it.

    Everything else becomes a space; accented letters too, they have no counterpart.  Idempotent.
    """
    plain = text.replace("\u2018", "'").replace("\u2019", "'")
    kept = (symbol.upper() if symbol in _SPELLING else " " for symbol in plain)
    return " ".join("".join(kept).split())
