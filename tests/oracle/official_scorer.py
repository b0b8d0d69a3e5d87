"""Run in the scorer's own environment: what zerospeech-benchmarks makes of a submission, as JSON.

Importing the package asks the network for an index of downloads unless there is one already, so an
empty index is laid down first.
"""

import json
import os
import sys
import tempfile
from pathlib import Path


def main(gold: Path, submission: Path) -> None:
    home = Path(tempfile.mkdtemp())
    os.environ["APP_DIR"] = str(home)
    index = {"last_modified": "2024-01-01T00:00:00", "datasets": [], "checkpoints": []}
    (home / "repo.json").write_text(json.dumps({**index, "samples": []}))
    os.utime(home / "repo.json", (0, 0))  # an old index is not looked for again
    from zerospeech.generics import FileItem
    from zerospeech.tasks.lm import LexicalTask, SyntacticTask

    def item(path: Path) -> FileItem:
        return FileItem.from_file(path)

    lexical = LexicalTask().run_lexical_eval(
        item(submission / "lexical" / "dev.txt"), item(gold / "lexical" / "dev" / "gold.csv")
    )
    syntactic = SyntacticTask().run_syntactic_comparison(
        item(gold / "syntactic" / "dev" / "gold.csv"), item(submission / "syntactic" / "dev.txt")
    )
    names = ("pairs", "frequency", "length"), ("pairs", "type")
    found = {
        level: {name: json.loads(table.to_json(orient="records")) for name, table in made}
        for level, made in (
            ("lexical", zip(names[0], lexical, strict=True)),
            ("syntactic", zip(names[1], syntactic, strict=True)),
        )
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
