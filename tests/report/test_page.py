import collections
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from ray_slm.report.columns import COLUMNS
from ray_slm.report.page import html, render
from tests.report.made_up import RATES, made_up, nothing_ran

VOID = {"meta", "link", "br", "img", "input", "hr", "base", "embed", "source", "wbr", "col"}
LOADING = {"src", "srcset", "data", "poster", "action", "background", "xlink:href"}


class Document(HTMLParser):
    """A page taken apart: its elements, its text, and what is wrong with its nesting."""

    def __init__(self, text):
        super().__init__()
        self.open, self.problems, self.elements, self.words = [], [], [], []
        self.feed(text)
        self.close()
        self.problems += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        names = [name for name, _ in attrs]
        self.problems += [f"<{tag}> has {n} twice" for n in set(names) if names.count(n) > 1]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> closes something else")

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def of(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(results):
    return Document(html(results))


@pytest.fixture(scope="module", params=["whole", "one seed", "large", "empty"])
def document(request):
    makers = {
        "whole": made_up,
        "one seed": lambda: made_up(1, 4),
        "large": lambda: made_up(5, 20),
        "empty": nothing_ran,
    }
    return page(makers[request.param]())


def test_elements_nest_and_ids_are_unique(document):
    assert document.problems == []
    ids = collections.Counter(a["id"] for _, a in document.elements if "id" in a)
    assert [name for name, count in ids.items() if count > 1] == []


def test_every_reference_within_the_page_leads_somewhere(document):
    ids = {a["id"] for _, a in document.elements if "id" in a}
    for tag, attributes in document.elements:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set(attributes.get(name, "").split()) <= ids, (tag, attributes)
        link = attributes.get("href", "")
        assert not link.startswith("#") or link[1:] in ids


def test_nothing_is_loaded_from_anywhere(document):
    for tag, attributes in document.elements:
        loaded = {name: attributes[name] for name in LOADING & set(attributes)}
        inline = loaded.get("src", "").startswith("data:audio/mpeg;base64,")
        assert loaded == {} or (tag == "audio" and inline and len(loaded) == 1), tag
        link = attributes.get("href") or "data:"
        assert ":" not in link or link.startswith("data:"), (tag, link)
    assert document.of("iframe") == document.of("img") == []
    (style,) = document.of("style")
    assert style == {}


def test_the_policy_allows_nothing_but_the_two_inline_elements(document):
    (policy,) = [
        m["content"]
        for m in document.of("meta")
        if m.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert len(re.findall(r"'sha256-[\w+/]{43}='", policy)) == 2


def test_no_element_carries_script_or_style_of_its_own(document):
    for _, attributes in document.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert len(document.of("script")) == 1


def test_tables_have_captions_and_scopes(document):
    named = [t for t in document.of("table") if "aria-label" not in t]
    assert len(document.of("caption")) == len(named)
    assert all("scope" in attributes for attributes in document.of("th"))


def test_warnings_are_on_every_page(document):
    for words in ("Hours of synthetic speech", "not the paper's", "Whisper", "bundle"):
        assert words in document.text


def test_items_of_a_published_benchmark_are_not_called_made_up():
    results = made_up()
    caveat = "made for this study in the style of the published benchmarks"
    assert caveat in html(results)
    published = {**results.study, "made_items": False}
    assert caveat not in html(results._replace(study=published))


def test_a_whole_study_has_no_hole():
    document = page(made_up())
    assert "Not run" not in document.text
    assert "every planned stage has a result" in document.text
    assert (
        len([a for a in document.of("svg") if a.get("class") == "panel"]) == 3 * 3 + 3 + 3 + 2 + 1
    )


def test_an_empty_study_says_what_was_not_run(tmp_path):
    render(nothing_ran(), tmp_path)
    document = Document((tmp_path / "index.html").read_text())
    assert document.text.count("Not run") >= 10
    assert "evaluate/text-bpe/seed-0/1000/swuggy" in document.text
    assert not list((tmp_path / "png").iterdir())
    tables = json.loads((tmp_path / "tables.json").read_text())
    assert tables["table4"] == tables["layers"] == []
    assert tables["holes"] == ["evaluate/text-bpe/seed-0/1000/swuggy"]


@pytest.mark.parametrize("name", COLUMNS)
def test_any_single_part_may_be_missing(name):
    document = page(made_up(1, 3)._replace(**{name: pd.DataFrame()}))
    assert document.problems == []


@pytest.mark.parametrize("name", COLUMNS)
def test_any_single_part_may_be_all_there_is(name):
    part = {name: getattr(made_up(1, 3), name)}
    assert page(nothing_ran()._replace(**part)).problems == []


@pytest.mark.parametrize(("num_seeds", "labelled"), [(1, True), (3, False)])
def test_one_seed_is_labelled_in_answer_and_table(num_seeds, labelled):
    text = page(made_up(num_seeds)).text
    assert ("with one seed, these intervals hold item noise only" in text) is labelled
    assert ("400 pairs, 1 seed " in text) is labelled


def test_focusable_points_carry_their_values():
    text = html(made_up())
    document = Document(text)
    assert re.search(r"<title>text-bpe, \S+ tokens: \d\d\.\d \[\d\d\.\d, \d\d\.\d\] %", text)
    panels = [a for a in document.of("svg") if a.get("class") == "panel"]
    assert {a["tabindex"] for a in panels} == {"0"}  # one stop per panel, arrows within it
    assert {a.get("tabindex") for a in document.of("path") if a.get("role")} == {"-1"}


HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>&amp;{{7*7}}'


def hostile_results():
    results = made_up(1, 4)

    def renamed(frame):
        columns = [c for c in ("modality", "baseline") if c in frame.columns]
        names = {column: {"phone-raw": HOSTILE} for column in columns}
        return frame.replace(names) if columns else frame

    frames = {name: renamed(getattr(results, name)) for name in COLUMNS}
    frames["quarantine"] = pd.DataFrame([[HOSTILE] * 4], columns=COLUMNS["quarantine"])
    study = {"name": HOSTILE, "question": HOSTILE, "notice": HOSTILE}
    study["task_titles"] = {"swuggy": HOSTILE}
    made = {HOSTILE: HOSTILE, "versions": {HOSTILE: HOSTILE}}
    return results._replace(study=study, made=made, holes=[HOSTILE], **frames)


def test_hostile_strings_stay_text(tmp_path):
    render(hostile_results(), tmp_path)
    document = Document((tmp_path / "index.html").read_text())
    assert document.problems == []
    assert document.of("img") == []
    assert len(document.of("script")) == 1
    assert not [a for _, a in document.elements if "onerror" in a]
    assert document.text.count(HOSTILE) > 10


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_same_results_give_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        render(made_up(2, 5), folder)
    assert files(first) == files(second)
    names = [*range(1, 7), "1-hours", "1-flops"]
    assert {f"{kind}/figure{i}.{kind}" for i in names for kind in ("png", "pdf")} <= {*files(first)}


def test_other_results_give_another_page():
    one, two = page(made_up(seed=1)).text, page(made_up(seed=2)).text
    assert one != two


def test_thirty_runs_of_twenty_checkpoints_stay_below_five_megabytes():
    results = made_up(num_seeds=5, num_checkpoints=20)._replace(clips={})
    assert len(html(results).encode()) < 5_000_000


def test_provenance_and_quarantine_are_printed():
    results = made_up()
    text = page(results).text
    for words in (results.made["commit"], "torch", "synthesis timings", "rms, slt, awb, kal16"):
        assert words in text
    assert "ALIGNMENT_FAILED" in text
    assert all(modality in text for modality in RATES)
