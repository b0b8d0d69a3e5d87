"""How likely a text is to a causal language model of text: the judge of continuations.

Any folder that transformers opens will do.  The default comes as a GGUF file, which takes most of
a minute to open; it is converted once into such a folder beside the file.
"""

import argparse
import contextlib
import hashlib
import logging
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ray_slm.corpora.assets import locate
from ray_slm.tasks.continuation import Judge
from ray_slm.units.extractor import verify_digest

TEXTS_AT_ONCE = 8
CONVERTED = "model.safetensors"


class Judged(NamedTuple):
    """Negative log-probability in nats of a continuation given its prompt, and of both together.

    Tokens are the judge's own; begin-of-text precedes the prompt where the judge has one.
    """

    nats: float
    judge_tokens: int
    whole_nats: float
    whole_tokens: int


class TextJudge:
    """A loaded judge."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model, self._tokenizer, self.name = model, tokenizer, name

    def judge(self, prompts: Sequence[str], continuations: Sequence[str]) -> list[Judged]:
        """Judge each continuation after its prompt; nothing follows an empty one."""
        pairs = [
            (self._ids(prompt, first=True), self._ids(f" {after}" if after else ""))
            for prompt, after in zip(prompts, continuations, strict=True)
        ]
        found: list[Judged] = []
        for start in range(0, len(pairs), TEXTS_AT_ONCE):
            found += self._judge_batch(pairs[start : start + TEXTS_AT_ONCE])
        return found

    def _ids(self, text: str, *, first: bool = False) -> list[int]:
        ids: list[int] = (
            self._tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        )
        start = self._tokenizer.bos_token_id
        return [start, *ids] if first and start is not None else ids

    def _judge_batch(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[Judged]:
        import torch

        longest = max(len(prompt) + len(after) for prompt, after in pairs)
        ids_BT = torch.zeros((len(pairs), longest), dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, (prompt, after) in enumerate(pairs):
            whole = torch.tensor([*prompt, *after], dtype=torch.long)
            ids_BT[row, : len(whole)], mask_BT[row, : len(whole)] = whole, 1
        with torch.inference_mode():
            logits_BTV = self._model(input_ids=ids_BT, attention_mask=mask_BT).logits.float()
        nats_BT = torch.nn.functional.cross_entropy(
            logits_BTV[:, :-1].transpose(1, 2), ids_BT[:, 1:], reduction="none"
        ).double()
        found = []
        for row, (prompt, after) in enumerate(pairs):
            whole = nats_BT[row, : len(prompt) + len(after) - 1]
            own = whole[len(prompt) - 1 :]
            found.append(Judged(float(own.sum()), len(own), float(whole.sum()), len(whole)))
        return found


def open_judge(recipe: Judge, places: Mapping[str, Path]) -> TextJudge:
    """The judge: the user's Hugging Face folder, else the packaged one, in fp32.

    The digest of a folder is that of the digests of its ``*.safetensors``, in order of name.
    Raises ValueError for a missing or a different judge.
    """
    if recipe.name in places:
        folder = places[recipe.name]
        _verify_folder(folder, recipe)
    else:
        path = locate(places, recipe.name)
        verify_digest(path, recipe.sha256, recipe.name)
        folder = converted(path)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True
        )
        return TextJudge(model.eval(), AutoTokenizer.from_pretrained(folder), recipe.name)


def folder_digest(folder: Path) -> str:
    """What ``Judge.sha256`` must be for a folder: sha256 over its weights' sha256, by name."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _verify_folder(folder: Path, recipe: Judge) -> None:
    found = folder_digest(folder)
    if found != recipe.sha256 or not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder}: the weights have the digest {found}, but {recipe.sha256} is pinned; if "
            f'these are the weights you mean, write Judge(name="{recipe.name}", sha256="{found}")'
        )


def converted(gguf: Path) -> Path:
    """The folder that transformers opens in a second, made from a GGUF file when it is absent."""
    from filelock import FileLock

    folder = gguf.parent / f"{gguf.stem}-folder"
    with FileLock(f"{folder}.lock"):
        if not (folder / CONVERTED).exists():
            _convert(gguf, folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    draft = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float16,
            use_safetensors=True,
        )
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
    draft.replace(folder)


@contextlib.contextmanager
def quiet() -> Any:
    """Without progress bars and advice: a worker's lines are the driver's output."""
    from transformers.utils import logging as chatter

    before = chatter.get_verbosity()
    chatter.set_verbosity(logging.ERROR)
    chatter.disable_progress_bar()
    try:
        yield
    finally:
        chatter.set_verbosity(before)
        chatter.enable_progress_bar()


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the packaged judge, once."""
    parser = argparse.ArgumentParser(
        prog="python -m ray_slm.continuation.judge",
        description="Convert the packaged judge into a folder that opens quickly.",
    )
    parser.add_argument("assets", type=Path)
    options = parser.parse_args(arguments)
    folder = converted(locate({"assets": options.assets}, Judge().name))
    print(f"{Judge().name}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
