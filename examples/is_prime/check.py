"""Compare the primes of a long run with the sieve of Eratosthenes:
`python check.py LARGEST FILE.jsonl ...`

So many numbers must have been drawn that each prime is among them.
"""

import json
import sys
from pathlib import Path

largest = int(sys.argv[1])
sieve = dict.fromkeys(range(2, largest + 1))
for number in list(sieve):
    for multiple in range(number * number, largest + 1, number):
        sieve.pop(multiple, None)
lines = [line for path in sys.argv[2:] for line in Path(path).read_text().splitlines()]
found = sorted(json.loads(line)["data"] for line in lines)
if found != list(sieve):
    sys.exit(f"check: error: these are not the primes up to {largest}, each once: {found}")
print(f"the {len(found)} primes up to {largest}, as the sieve of Eratosthenes has them")
