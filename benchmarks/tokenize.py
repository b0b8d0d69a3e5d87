"""``python benchmarks/tokenize.py``: see ``token_rates.py``.

Python's own ``tokenize`` has this name too, and whoever runs another script of this folder means
that one: imported, this file is Python's.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    from benchmarks.token_rates import main

    main()
else:
    _own = Path(sys.modules["os"].__file__).with_name("tokenize.py")
    exec(compile(_own.read_text(encoding="utf-8"), str(_own), "exec"))
