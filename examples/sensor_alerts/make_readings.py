"""Make readings of invented sensors

    python make_readings.py [--sensors 12] [--readings 200] [--faults 5] [--seed 1] > readings.csv

Each sensor has its own mean and deviation (normal noise), and is read once a minute. Some sensors
have a fault: one reading that is 10 to 20 deviations away. Standard error names them.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description="Make readings of invented sensors")
    parser.add_argument("--sensors", type=int, default=12, metavar="N")
    parser.add_argument("--readings", type=int, default=200, metavar="N", help="of each sensor")
    parser.add_argument("--faults", type=int, default=5, metavar="N", help="at most one a sensor")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    options = parser.parse_args()
    drawn = random.Random(options.seed)
    names = [f"S{number:03}" for number in range(options.sensors)]
    usual = {name: (drawn.uniform(5, 30), drawn.uniform(0.1, 1.0)) for name in names}
    wrong = {}
    for name in sorted(drawn.sample(names, options.faults)):
        wrong[name] = drawn.randrange(options.readings // 2, options.readings)
        print(f"fault: {name} at {60 * wrong[name]} s", file=sys.stderr)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["time", "sensor", "value"])
    for minute in range(options.readings):
        for name, (mean, deviation) in usual.items():
            value = drawn.gauss(mean, deviation)
            if wrong.get(name) == minute:
                value += drawn.choice([-1, 1]) * drawn.uniform(10, 20) * deviation
            table.writerow([60 * minute, name, round(value, 3)])


if __name__ == "__main__":
    main()
