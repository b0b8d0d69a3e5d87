import io
import struct
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_slm.corpora.assets import locate
from ray_slm.corpora.deb import read_deb_files
from ray_slm.corpora.lexicon import (
    CONSONANTS,
    PHONES,
    VOWELS,
    pocketsphinx_pronunciations,
    read_cmudict,
    without_stress,
)
from ray_slm.corpora.novels import BOOKS, paragraphs, read_novel, split_sentences
from ray_slm.corpora.rdata import read_lazy_load, read_serialized
from ray_slm.corpora.text import TEXT_SYMBOLS, clean_text, num_replaced


@pytest.fixture(scope="module")
def novels(places):
    return locate(places, "novels")


def test_all_six_novels_are_read_whole(novels):
    words = {book: sum(len(s.split()) for s in read_novel(novels, book)) for book in BOOKS}
    assert min(words.values()) > 75_000
    assert 715_000 < sum(words.values()) < 725_000


def test_a_novel_begins_with_its_first_sentence_and_ends_with_its_last(novels):
    pride = read_novel(novels, "pride-and-prejudice")
    assert pride[0].startswith("It is a truth universally acknowledged, that a single man")
    assert pride[-1].endswith("had been the means of uniting them.")
    assert read_novel(novels, "northanger-abbey")[0].startswith("No one who had ever seen")
    assert read_novel(novels, "northanger-abbey")[-1].endswith("or reward filial disobedience.")


def test_no_heading_or_typography_is_left(novels):
    for book in BOOKS:
        for sentence in read_novel(novels, book):
            assert "_" not in sentence
            assert "--" not in sentence
            assert "CHAPTER" not in sentence.upper().split(" ")[:1]
            assert sentence == " ".join(sentence.split()) != ""


def test_almost_every_sentence_is_in_the_text_symbols(novels):
    sentences = [s for book in BOOKS for s in read_novel(novels, book)]
    assert 0 < sum(num_replaced(s) > 0 for s in sentences) < 0.003 * len(sentences)


def test_an_unknown_novel_names_the_known_ones(novels):
    with pytest.raises(ValueError, match=r"'dracula'.*'emma'"):
        read_novel(novels, "dracula")


def test_paragraphs_are_joined_and_headings_dropped():
    lines = [
        "A TITLE",
        "",
        "By Nobody",
        "",
        "CHAPTER I",
        "",
        "",
        "One _very_ long--and",
        "windy day.",
    ]
    lines += ["", "* * *", "", "CHAPTER 2", "", '"I said--"', "", "FINIS", "", "A note."]
    assert paragraphs(lines) == ["One very long and windy day.", '"I said"']


def test_a_name_struck_out_is_marked_as_unreadable():
    (paragraph,) = paragraphs(["CHAPTER I", "", "He came from ----shire."])
    assert num_replaced(paragraph) == 1


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("He came. She left.", ["He came.", "She left."]),
        ("Mr. and Mrs. Weston met Dr. Grant. All sat.", 2),
        ("It was F. C. Weston who wrote. Nobody else did.", 2),
        ('"Is it so?" "It is," said he.', ['"Is it so?"', '"It is," said he.']),
        ('"Is it so?" said he. "It is!"', ['"Is it so?" said he.', '"It is!"']),
        (
            "Oh! Miss Woodhouse, how kind! You are good.",
            ["Oh! Miss Woodhouse, how kind!", "You are good."],
        ),
        ("She is older than I. He is not.", ["She is older than I.", "He is not."]),
        ("What! are you going?", ["What! are you going?"]),
        ("No end mark", ["No end mark"]),
        ("", []),
    ],
)
def test_sentences_are_split(paragraph, sentences):
    found = split_sentences(paragraph)
    assert found == sentences if isinstance(sentences, list) else len(found) == sentences
    assert " ".join(found) == paragraph


def test_there_are_78_text_symbols():
    assert len(TEXT_SYMBOLS) == len(set(TEXT_SYMBOLS)) == 52 + 10 + 1 + 15


def test_clean_text_maps_typographic_marks():
    assert clean_text("\u201cWell-bred\u201d \u2018tis\uff01\uff08so\uff09\u3010a\u3011") == (
        '"Well bred" \'tis!(so)[a]'
    )


def test_replaced_symbols_are_counted_and_become_one_space():
    assert clean_text("caf\u00e9 & \u00a3100") == "caf 100"
    assert num_replaced("caf\u00e9 & \u00a3100") == 3
    assert num_replaced("plain - text\n") == 0


@given(st.text())
def test_clean_text_stays_in_the_alphabet_and_is_idempotent(text):
    cleaned = clean_text(text)
    assert set(cleaned) <= set(TEXT_SYMBOLS)
    assert clean_text(cleaned) == cleaned == cleaned.strip()
    assert num_replaced(cleaned) == 0


def _serialized(item: bytes) -> bytes:
    return b"X\n" + struct.pack(">iii", 2, 0x30400, 0x20300) + item


def _string(text: str) -> bytes:
    return struct.pack(">ii", 9, len(text)) + text.encode()


def _strings(*texts: str) -> bytes:
    return struct.pack(">ii", 16, len(texts)) + b"".join(map(_string, texts))


def _named_list(names: list[str], *items: bytes) -> bytes:
    tag = struct.pack(">i", 1) + _string("names")
    names_attribute = struct.pack(">i", 2 | 0x400) + tag + _strings(*names)
    head = struct.pack(">ii", 19 | 0x200, len(items))
    return head + b"".join(items) + names_attribute + struct.pack(">i", 254)


def test_r_values_are_read():
    assert read_serialized(_serialized(_strings("one", "two"))) == ["one", "two"]
    integers = struct.pack(">iiii", 13, 2, 7, -1)
    assert read_serialized(_serialized(_named_list(["a"], integers))) == {"a": [7, -1]}


def test_a_missing_r_string_reads_as_an_empty_line():
    chunk = zlib.compress(_serialized(struct.pack(">ii", 16, 1) + struct.pack(">ii", 9, -1)))
    data = struct.pack(">i", 0) + chunk
    where = struct.pack(">iiii", 13, 2, 0, len(data))
    index = zlib.compress(_serialized(_named_list(["variables"], _named_list(["book"], where))))
    assert read_lazy_load(index, data) == {"book": [""]}


def test_an_unknown_r_type_is_refused():
    with pytest.raises(ValueError, match="R type 3 "):
        read_serialized(_serialized(struct.pack(">i", 3)))


def _deb(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    parts = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", b"odd"),
        ("data.tar.xz", buffer.getvalue()),
    ]
    archive = b"!<arch>\n"
    for part, data in parts:
        archive += f"{part:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
        archive += data + b"\n" * (len(data) % 2)
    return archive


def test_a_file_is_read_from_a_debian_package(tmp_path):
    path = tmp_path / "x.deb"
    path.write_bytes(_deb("./usr/share/x/words.txt", b"hello"))
    assert read_deb_files(path, ("x/words.txt",)) == [b"hello"]
    with pytest.raises(ValueError, match=r"x\.deb: 0 files end in 'absent'"):
        read_deb_files(path, ("absent",))


def test_what_is_no_debian_package_is_refused(tmp_path):
    path = tmp_path / "x.deb"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a Debian package"):
        read_deb_files(path, ("a",))


def test_the_inventory_has_69_stressed_phones_silence_and_noise():
    assert len(PHONES) == len(set(PHONES)) == 71
    assert len(CONSONANTS) == 24
    assert len(VOWELS) == 15
    assert PHONES[-2:] == ("SIL", "SPN")


def test_cmudict_uses_all_69_phones(places):
    pronunciations = read_cmudict(locate(places, "cmudict"))
    assert len(pronunciations) > 125_000
    assert pronunciations["read"] == [("R", "EH1", "D"), ("R", "IY1", "D")]
    used = {phone for every in pronunciations.values() for phones in every for phone in phones}
    assert used == set(PHONES[:-2])


def test_pocketsphinx_says_the_same_without_stress(places):
    stressed = read_cmudict(locate(places, "cmudict"))
    stressless = pocketsphinx_pronunciations()
    assert stressless["colour"] == [without_stress(stressed["colour"][0])]
    assert {p for every in stressless.values() for ph in every for p in ph} == {
        *CONSONANTS,
        *VOWELS,
    }


def test_comments_in_a_dictionary_are_skipped_and_bad_phones_refused(tmp_path):
    path = tmp_path / "dict"
    path.write_text(";;; a comment\nYes Y EH1 S # usual\nyes(2) Y AE1\n")
    assert read_cmudict(path) == {"yes": [("Y", "EH1", "S"), ("Y", "AE1")]}
    path.write_text("yes Y EH S\n")
    with pytest.raises(ValueError, match=r"dict:1: 'yes'.*'EH'"):
        read_cmudict(path)
