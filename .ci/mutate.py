#!/usr/bin/env python3
"""Break samsungchat.py in small ways and see whether the suite notices: what survives is a missing test, or a line
that is not needed.

    python .ci/mutate.py [--count 60] [--seed 1] [--jobs 1] [--section 9] [TEST_CLASS ...]

Each mutation is drawn from its own stretch of the file, the kinds evenly, and tried in a copy of the repository, first
on the tests that run its lines in their own process, the quickest class first, then on those that start programs,
until one fails.  Checks of the text do not count.  Needs CPython 3.12 or newer (PEP 669).  (mutmut writes 348,000 lines
for this one file, cosmic-ray knows 16,000 mutations and cannot sample.)
"""

import argparse
import ast
import collections
import concurrent.futures
import contextlib
import json
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

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
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


class Traced(unittest.TextTestResult):
    """What a run of the tests writes down: which lines of the program each test runs, and in how many seconds."""

    case, ran, prepared, tests = None, set(), set(), []

    @classmethod
    def watch(cls):
        sys.monitoring.use_tool_id(sys.monitoring.COVERAGE_ID, "mutate")
        sys.monitoring.register_callback(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE, cls.note)
        sys.monitoring.set_events(sys.monitoring.COVERAGE_ID, sys.monitoring.events.LINE)

    @classmethod
    def note(cls, code, line):
        if os.path.basename(code.co_filename) == "samsungchat.py":
            cls.ran.add(line)
        return sys.monitoring.DISABLE

    def startTest(self, test):  # noqa: N802
        super().startTest(test)
        if self.case is not type(test):
            self.case, self.prepared = type(test), set()
        self.prepared |= self.ran  # By what prepares the whole class.
        self.ran.clear()
        self.began = time.monotonic()
        sys.monitoring.restart_events()

    def stopTest(self, test):  # noqa: N802
        super().stopTest(test)
        self.tests.append((test.id(), time.monotonic() - self.began, sorted(self.ran | self.prepared)))
        self.ran.clear()
        sys.monitoring.restart_events()


def trace(names, path):
    """Run test classes and write down what they run; return the exit status."""
    Traced.watch()
    suite = __import__("test_samsungchat")
    imported = sorted(Traced.ran)
    Traced.ran.clear()
    cases = [each for each in vars(suite).values() if isinstance(each, type) and issubclass(each, unittest.TestCase)]
    cases = [each for each in cases if each.__name__ in (names or [each.__name__]) and each.__name__ not in TEXT_CHECKS]
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    good = unittest.TextTestRunner(resultclass=Traced).run(unittest.TestSuite(map(load, cases))).wasSuccessful()
    outside = [each.__name__ for each in cases if issubclass(each, suite.OutsideCase)]
    with open(path, "w") as file:
        json.dump({"imported": imported, "outside": outside, "tests": Traced.tests}, file)
    return 0 if good else 1


def in_order(traced, node):
    """Return the tests that may notice a change of this node, those that start programs last, and their seconds."""
    lines, cases = set(range(node.lineno, node.end_lineno + 1)), collections.defaultdict(list)
    anywhere = lines.intersection(traced["imported"])
    for name, seconds, ran in traced["tests"]:
        case = name.split(".")[1]
        if anywhere or case in traced["outside"] or lines.intersection(ran):
            cases[case].append((name, seconds))
    ordered = sorted(cases, key=lambda case: (case in traced["outside"], sum(seconds for _, seconds in cases[case])))
    return [name for case in ordered for name, _ in cases[case]], sum(
        each[1] for case in ordered for each in cases[case]
    )


def noticed(root, data, arguments, limit=None):
    """Run Python with the arguments on a copy with such a source; return what noticed that it is broken, or None."""
    with tempfile.TemporaryDirectory() as folder:
        place = shutil.copytree(root, os.path.join(folder, "copy"), ignore=shutil.ignore_patterns(".git"))
        with open(os.path.join(place, "samsungchat.py"), "wb") as file:
            file.write(data)
        command = [sys.executable, "-B", *arguments]
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
    parser.add_argument("--trace", metavar="FILE", help=argparse.SUPPRESS)
    parser.add_argument("cases", metavar="TEST_CLASS", nargs="*", help="ask only these")
    options = parser.parse_args()
    if options.trace:
        sys.path.insert(0, os.getcwd())
        sys.exit(trace(options.cases, options.trace))
    with tempfile.TemporaryDirectory() as folder:
        root = shutil.copytree(ROOT, os.path.join(folder, "root"), ignore=shutil.ignore_patterns(".git"))
        try_all(options, root, os.path.join(folder, "traced"))


def try_all(options, root, path):
    """Trace the tests of the repository at ``root``, which nobody changes meanwhile, and try a sample there."""
    with open(os.path.join(root, "samsungchat.py"), encoding="utf-8") as file:
        source = file.read()
    found = noticed(root, source.encode(), [os.path.abspath(__file__), "--trace", path, *options.cases])
    if found:
        sys.exit("the suite fails without any mutation: %s" % found)
    with open(path) as file:
        traced = json.load(file)

    def trial(mutation):
        tests, seconds = in_order(traced, mutation.node)
        command, limit = ["-m", "unittest", "-f", *tests], 30 + 2 * options.jobs * seconds
        found = tests and noticed(root, broken(source, mutation), command, limit)
        section = section_of(source, mutation.node)
        place = "line %d, %s, %s" % (mutation.node.lineno, section[1], ".".join(mutation.names))
        what = "%s: %s -> %s" % (mutation.kind, " ".join(ast.unparse(mutation.node).split())[:160], mutation.text[:160])
        print("%s: %s\n    %s" % ("noticed by " + found if found else "SURVIVED", place, what), flush=True)
        return bool(found)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(trial, sample(source, options.count, options.seed, options.section)))
    print("%d of %d noticed" % (sum(results), len(results)))


if __name__ == "__main__":
    main()
