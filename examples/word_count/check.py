"""Compare counts of words, JSON lines of a run, with those of Python's Counter:
`python check.py text.txt FILE.jsonl ...`
"""

import json
import sys
from collections import Counter
from pathlib import Path

text, *results = sys.argv[1:]
expected = Counter(Path(text).read_text().split())
lines = [line for path in results for line in Path(path).read_text().splitlines()]
found = [json.loads(line)["data"] for line in lines]
if sorted(map(tuple, found)) != sorted(expected.items()):
    sys.exit(f"check: error: the words of {text} are counted otherwise: {found}")
print(f"{len(expected)} words, as Python's Counter counts them")
