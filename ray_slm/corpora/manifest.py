"""One line of a Libriheavy manifest: a lhotse MonoCut, read with a schema of our own.

lhotse itself runs shell commands that a manifest names, so it is not asked; sources other than
files are refused.  Both published forms are read: the raw one (``custom.texts`` holds the book's
text and a recognizer's) and the extracted ones (``text``).  Spans are in samples at 16 kHz.
"""

import re

import msgspec

from ray_slm.corpora.utterance import SAMPLE_RATE_HZ
from ray_slm.corpora.validate import BadItem

_DIGIT = re.compile(r"\d")
TEXTS = ("book", "asr")  # the order of ``custom.texts``
_LONGEST_SECONDS = 1e6
OVERRUN_SAMPLES = 320  # a cut may end so much after its recording: it is trimmed and counted


class _Source(msgspec.Struct):
    type: str
    source: str
    channels: tuple[int, ...] = (0,)


class _Recording(msgspec.Struct):
    id: str
    sources: tuple[_Source, ...]
    sampling_rate: int
    num_samples: int
    transforms: object = None


class _Custom(msgspec.Struct):
    texts: tuple[str, ...] = ()


class _Supervision(msgspec.Struct):
    start: float
    duration: float
    speaker: str | None = None
    text: str | None = None
    custom: _Custom | None = None


class _Cut(msgspec.Struct):
    id: str
    start: float
    duration: float
    supervisions: tuple[_Supervision, ...]
    recording: _Recording
    type: str
    channel: int | tuple[int, ...] = 0


class _Unsafe(msgspec.Struct):
    type: str = "file"


class _Sources(msgspec.Struct):
    sources: tuple[_Unsafe, ...] = ()


class _Named(msgspec.Struct):
    id: str
    recording: _Sources | None = None


class Cut(msgspec.Struct, array_like=True):
    """What is kept of a line: ``audio`` is relative to the audio's root, ``text`` as it stands.

    ``spoken`` is a recognizer's text where a text has numerals, which may be read in many ways.
    A cut that cannot be used has a ``reason``, a quarantine code, and a ``detail``.
    """

    id: str
    line: int
    audio: str = ""
    start: int = 0
    num_samples: int = 0
    speaker: str = ""
    book: str = ""
    text: str = ""
    spoken: str = ""
    trimmed: int = 0
    reason: str = ""
    detail: str = ""


_decode = msgspec.json.Decoder(_Cut).decode
_decode_name = msgspec.json.Decoder(_Named).decode


class ManifestReader:
    """Reads the lines of one manifest; ``place`` is its path, for messages.

    ``audio_prefix`` is what the manifest has in front of paths relative to the audio's root;
    ``transcript`` "book" or "asr" chooses among the texts of the raw form.
    """

    def __init__(self, place: str, *, audio_prefix: str, transcript: str) -> None:
        self._place, self._prefix = place, audio_prefix
        self._text_index = TEXTS.index(transcript)

    def read(self, number: int, line: bytes) -> Cut:
        """Line ``number`` (from 1) as a cut, or as one with the reason why it cannot be used.

        Raises ValueError naming the line when it is no JSON object with an id, when a source is
        no file (a command, a URL, a pipe), or its path does not lie under ``audio_prefix``.
        """
        try:
            cut = _decode(line)
        except msgspec.DecodeError as error:
            return self._misshapen(number, line, error)
        for source in cut.recording.sources:
            self._refuse_unsafe(number, source.type, source.source)
        try:
            return self._kept(number, cut)
        except BadItem as error:
            return Cut(id=cut.id, line=number, reason=error.reason, detail=error.detail)

    def _kept(self, number: int, cut: _Cut) -> Cut:
        source, speech = _only_source(cut), _only_supervision(cut)
        audio = self._relative(number, source.source)
        if max(abs(cut.start), abs(cut.duration)) > _LONGEST_SECONDS:
            raise BadItem(
                "CUT_SPAN", f"a start of {cut.start} s and a duration of {cut.duration} s"
            )
        start, num_samples = round(SAMPLE_RATE_HZ * cut.start), round(SAMPLE_RATE_HZ * cut.duration)
        excess = max(0, start + num_samples - cut.recording.num_samples)
        if start < 0 or num_samples <= 0 or excess > OVERRUN_SAMPLES or excess >= num_samples:
            span = f"samples {start} to {start + num_samples}"
            raise BadItem("CUT_SPAN", f"{span} of a recording of {cut.recording.num_samples}")
        text = self._text(speech)
        return Cut(
            id=cut.id,
            line=number,
            audio=audio,
            start=start,
            num_samples=num_samples - excess,
            speaker=speech.speaker or "",
            book=audio.rpartition("/")[0].rpartition("/")[2],
            text=text,
            spoken=_recognized(speech) if _DIGIT.search(text) else "",
            trimmed=excess,
        )

    def _text(self, speech: _Supervision) -> str:
        if speech.text is not None:
            if self._text_index:
                raise BadItem("TEXT_MISSING", "an extracted manifest has no recognizer's text")
            return speech.text
        texts = speech.custom.texts if speech.custom else ()
        if len(texts) <= self._text_index:
            raise BadItem("TEXT_MISSING", f"neither text nor custom.texts[{self._text_index}]")
        return texts[self._text_index]

    def _relative(self, number: int, source: str) -> str:
        path = source.removeprefix(self._prefix)
        parts = path.split("/")
        if not source.startswith(self._prefix) or "" in parts or ".." in parts or "\0" in path:
            raise ValueError(
                f"{self._place}:{number}: the source {source!r} does not lie under "
                f"{self._prefix!r}; set audio_prefix to what precedes small/, medium/ and large/"
            )
        return path

    def _refuse_unsafe(self, number: int, kind: str, source: str) -> None:
        if kind != "file":
            raise ValueError(
                f"{self._place}:{number}: a source of type {kind!r} ({source[:80]!r}); only files "
                "are read, for the others run commands or fetch what they like: drop the line, or "
                "store its audio as a file"
            )

    def _misshapen(self, number: int, line: bytes, error: msgspec.DecodeError) -> Cut:
        """A line that breaks the schema, under its id if it has one."""
        try:
            named = _decode_name(line)
        except msgspec.DecodeError:
            raise ValueError(
                f"{self._place}:{number}: {error}; it is no MonoCut with an id: mend or drop it"
            ) from None
        for source in named.recording.sources if named.recording else ():
            self._refuse_unsafe(number, source.type, "")
        return Cut(id=named.id, line=number, reason="MANIFEST_LINE", detail=str(error))


def _recognized(speech: _Supervision) -> str:
    texts = speech.custom.texts if speech.custom else ()
    return texts[TEXTS.index("asr")] if len(texts) == len(TEXTS) else ""


def _only_source(cut: _Cut) -> _Source:
    recording = cut.recording
    if cut.type != "MonoCut":
        raise BadItem("CUT_KIND", f"a {cut.type}; only MonoCuts are read")
    if len(recording.sources) != 1 or recording.sources[0].channels != (0,) or cut.channel != 0:
        raise BadItem("AUDIO_CHANNELS", "not one source with the one channel 0")
    if recording.sampling_rate != SAMPLE_RATE_HZ or recording.transforms:
        detail = f"{recording.sampling_rate} Hz, transforms {recording.transforms}"
        raise BadItem("AUDIO_RATE", f"{detail}; audio must be at {SAMPLE_RATE_HZ} Hz as it is")
    return recording.sources[0]


def _only_supervision(cut: _Cut) -> _Supervision:
    if len(cut.supervisions) != 1:
        raise BadItem("TEXT_MISSING", f"{len(cut.supervisions)} supervisions; one is needed")
    speech = cut.supervisions[0]
    frame = OVERRUN_SAMPLES / SAMPLE_RATE_HZ
    if abs(speech.start) > frame or abs(speech.duration - cut.duration) > frame:
        span = f"the text is of {speech.start} s to {speech.start + speech.duration} s of the cut"
        raise BadItem("CUT_SPAN", f"{span}, which lasts {cut.duration} s")
    return speech
