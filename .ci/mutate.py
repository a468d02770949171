#!/usr/bin/env python3
"""Break samsungchat.py in small ways and see whether the suite notices: what survives is a missing test, or a line
that is not needed.

    python .ci/mutate.py [--count 60] [--seed 1] [--jobs 1] [--section 9]

Each mutation is drawn from its own stretch of the file, the kinds evenly, and tried in a copy of the repository: first
the test classes that name the function or its class, then all others, until one fails.  Checks of the text do not
count.  (mutmut writes 348,000 lines for this one file, cosmic-ray knows 16,000 mutations and cannot sample.)
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import functools
import inspect
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import samsungchat as chat
import test_samsungchat as suite

ROOT = os.path.dirname(os.path.abspath(chat.__file__))
OPERATORS = {  # What each is called, and what takes its place.
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
TEXT_CHECKS = ("FileTest",)
TAKEN_AWAY = (ast.Expr, ast.Assign, ast.AugAssign, ast.If, ast.Raise, ast.Return, ast.Continue, ast.Break)

Mutation = collections.namedtuple("Mutation", "kind, node, text, names")


def mutations(node, names=()):
    """Yield the mutations of a tree; ``names``: the classes and functions around it."""
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
        names = (*names, node.name)
    if names or isinstance(node, ast.Assign):  # Outside of functions only the limits.
        for kind, text in changes(node):
            yield Mutation(kind, node, text, names)
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from mutations(child, names)


def changes(node):
    """Yield (kind, text): what can stand in the place of a node."""
    text = lambda each: "(%s)" % ast.unparse(each)  # noqa: E731
    is_docstring = isinstance(getattr(node, "value", None), ast.Constant)
    if isinstance(node, ast.Compare):
        for at in range(len(node.ops)):
            words = [OPERATORS[type(each)][place == at] for place, each in enumerate(node.ops)]
            pairs = ["%s %s" % (word, text(right)) for word, right in zip(words, node.comparators)]
            yield "comparison", "(%s %s)" % (text(node.left), " ".join(pairs))
    elif isinstance(node, ast.BoolOp):
        word = " and " if isinstance(node.op, ast.And) else " or "
        for at in range(len(node.values)):
            yield "condition dropped", "(%s)" % word.join(text(e) for n, e in enumerate(node.values) if n != at)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "condition swapped", text(node.operand)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "boolean", str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield "number", repr(node.value + 1)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield "sign", "(%s %s %s)" % (text(node.left), "-" if isinstance(node.op, ast.Add) else "+", text(node.right))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "display_text":
        yield "not cleaned", text(node.args[0])
    elif isinstance(node, TAKEN_AWAY) and not getattr(node, "orelse", None) and not is_docstring:
        yield "statement removed", "pass"


def sample(source, count, seed, section):
    """Return so many mutations, each from its own stretch of the file, and of a kind drawn before it."""
    draw, found = random.Random(seed), sorted(mutations(ast.parse(source)), key=lambda each: each.node.lineno)
    if section:
        found = [each for each in found if section == section_of(source, each.node)[0]]
    for number in range(count):
        stretch = found[number * len(found) // count : (number + 1) * len(found) // count]
        kind = draw.choice(sorted({each.kind for each in stretch}))
        yield draw.choice([each for each in stretch if each.kind == kind])


def section_of(source, node):
    """Return the number and the title of the section that a node stands in."""
    above = "\n".join(source.split("\n")[: node.lineno])
    return ([("0", "")] + re.findall(r"^# (\d+)\. (.*)", above, re.MULTILINE))[-1]


def broken(source, mutation):
    """Return the source with the mutation; columns count bytes."""
    node, lines = mutation.node, source.encode().split(b"\n")
    before, after = lines[node.lineno - 1][: node.col_offset], lines[node.end_lineno - 1][node.end_col_offset :]
    return b"\n".join(lines[: node.lineno - 1] + [before + mutation.text.encode() + after] + lines[node.end_lineno :])


source_of = functools.lru_cache(None)(inspect.getsource)


def in_order(names, title):
    """Return the test classes, those first whose name is like the section's or that name what is broken."""
    cases = [each for each in vars(suite).values() if isinstance(each, type) and issubclass(each, unittest.TestCase)]
    word = re.compile(r"\b(%s)\b" % "|".join(name.strip("_") for name in names))

    def strangeness(case):
        alike = any(each in case.__name__.lower() for each in title.lower().split())
        return -alike, -len(word.findall(source_of(case))) / len(source_of(case))

    first = sorted(cases, key=strangeness)[:6]
    ordered = first + [each for each in cases if each not in first]
    return ["test_samsungchat." + each.__name__ for each in ordered if each.__name__ not in TEXT_CHECKS]


def noticed(data, cases, limit=None):
    """Run test classes on such a source; return what noticed that it is broken, or None."""
    with tempfile.TemporaryDirectory() as folder:
        place = shutil.copytree(ROOT, os.path.join(folder, "copy"), ignore=shutil.ignore_patterns(".git"))
        with open(os.path.join(place, "samsungchat.py"), "wb") as file:
            file.write(data)
        command = [sys.executable, "-B", "-m", "unittest", "-f", *cases]
        if shutil.which("xvfb-run") and shutil.which("xauth"):  # Windows compete for the keyboard.
            command = ["xvfb-run", "-a", *command]
        with open(os.path.join(folder, "log"), "w+b") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            process = subprocess.Popen(command, cwd=place, start_new_session=True, **streams)
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                return "time limit"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            log.seek(0)
            found = re.search(r"^(?:FAIL|ERROR): (\w+)", log.read().decode("utf-8", "replace"), re.MULTILINE)
        return None if code == 0 else found.group(1) if found else "exit status %d" % code


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--section", metavar="N", help="only this one, by its number")
    parser.add_argument("--related", action="store_true", help="ask only the three test classes that are nearest")
    options = parser.parse_args()
    most = 3 if options.related else None
    with open(chat.__file__, encoding="utf-8") as file:
        source = file.read()
    began = time.monotonic()
    if noticed(source.encode(), in_order(["_"], "text" if options.related else "")[:most]):
        sys.exit("the suite fails without any mutation")
    limit = 30 + 2 * options.jobs * (time.monotonic() - began)

    def trial(mutation):
        section = section_of(source, mutation.node)
        found = noticed(broken(source, mutation), in_order(mutation.names or ["_"], section[1])[:most], limit)
        place = "line %d, %s, %s" % (mutation.node.lineno, section[1], ".".join(mutation.names))
        what = "%s: %s -> %s" % (mutation.kind, " ".join(ast.unparse(mutation.node).split())[:160], mutation.text[:160])
        print("%s: %s\n    %s" % ("noticed by " + found if found else "SURVIVED", place, what), flush=True)
        return bool(found)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(trial, sample(source, options.count, options.seed, options.section)))
    print("%d of %d noticed" % (sum(results), len(results)))


if __name__ == "__main__":
    main()
