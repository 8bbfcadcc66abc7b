#!/usr/bin/python3
"""Checks the arrows between folders: src -> admin -> pool -> protocol, and the benchmark's programs by themselves.

The linker finds what a folder calls and may not; this finds what it includes and may not, and names the line.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The benchmark shares no code with the pooler: what measures must not inherit its errors.
MAY_INCLUDE = {
    "protocol": {"protocol"},
    "pool": {"pool", "protocol"},
    "admin": {"admin", "pool", "protocol"},
    "src": {"src", "admin", "pool", "protocol"},
    "bench": {"bench"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')


def problems_of(path: Path, allowed: set[str]):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        target = found[1]
        if not (ROOT / target).is_file():
            yield f'{path.relative_to(ROOT)}:{number}: "{target}" is not a file; paths begin at the root'
        elif target.split("/")[0] not in allowed:
            yield f'{path.relative_to(ROOT)}:{number}: includes "{target}"; allowed are {", ".join(sorted(allowed))}'


def main() -> int:
    files = 0
    problems = []
    for folder, allowed in MAY_INCLUDE.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".cpp", ".h"}:
                files += 1
                problems += problems_of(path, allowed)
    print("\n".join(problems + [f"{files} files, {len(problems)} wrong includes"]))
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
