"""Compare the happiest places with what one regular expression finds in the articles:
`python check.py ARTICLES LEXICON FILE.jsonl`
"""

import csv
import json
import re
import sys
from collections import defaultdict
from math import isclose
from pathlib import Path

articles, lexicon, results = map(Path, sys.argv[1:])
scores = dict(line.split("\t") for line in lexicon.read_text().splitlines())
longest_first = sorted(map(re.escape, scores), key=len, reverse=True)
term = re.compile(rf"(?<![\w'-])(?:{'|'.join(longest_first)})(?![\w'-])")
sums: dict[str, float] = defaultdict(float)
with open(articles, encoding="utf-8", newline="") as table:
    for article in csv.DictReader(table):
        found = [int(scores[one]) for one in term.findall(article["text"].lower())]
        sums[article["place"]] += sum(found) / max(1, len(found))
del sums[""]
told = [json.loads(line)["data"] for line in results.read_text().splitlines()]
expected = sorted(sums, key=lambda place: (-sums[place], place))[: len(told)]
if [one["place"] for one in told] != expected:
    sys.exit(f"check: error: {told} are not the happiest of {dict(sums)}")
if not all(isclose(one["sum"], sums[one["place"]]) for one in told):
    sys.exit(f"check: error: {told} have other sums than {dict(sums)}")
print(f"the {len(told)} happiest of {len(sums)} places, as one regular expression finds them")
