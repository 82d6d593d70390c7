"""understood.py VALUES TOML PRINTED: whether the program understood what the values say, and the file made of them.

`login-pipeline check` prints what holds. Each key of the values and of the file has to be there with its value; durations
and sizes may be written otherwise (90sec, 8388608).
"""

import pathlib
import sys
import tomllib

import yaml


def same(written, printed):
    if isinstance(written, str) and isinstance(printed, list):
        return written.split(",") == printed
    if isinstance(printed, str) and str(written)[:1].isdigit():
        return printed[:1].isdigit()
    if isinstance(written, list) and isinstance(printed, list) and all(isinstance(item, dict) for item in written):
        # Tables may have more, such as the name that a rule is given.
        return len(written) == len(printed) and not any(line for pair in zip(written, printed) for line in missing(*pair))
    return written == printed and isinstance(written, bool) == isinstance(printed, bool)


def missing(written, printed, path=""):
    for name, value in written.items():
        if isinstance(value, dict) and isinstance(printed.get(name), dict):
            yield from missing(value, printed[name], f"{path}{name}.")
        elif name not in printed or not same(value, printed[name]):
            yield f"{path}{name} is {value!r} in what was written and {printed.get(name)!r} to the program"


values, toml, printed = (pathlib.Path(path).read_text() for path in sys.argv[1:])
printed = tomllib.loads(printed)
found = [*missing(yaml.safe_load(values)["config"], printed), *missing(tomllib.loads(toml), printed)]
for line in found:
    print(f"  {line}", file=sys.stderr)
sys.exit(bool(found))
