#!/usr/bin/env python3
"""One-line changes of the code that the crate's own tests must notice: run.py [--sample N] [--seed N] [--shard K/N] [--bar PERCENT] [FILE ...]

cargo-mutants makes each change in a copy of the tree and runs the tests of the crate it is in, without the system tests. --sample draws so
many of all changes, --shard takes the K-th of N parts of them (from 0), so that several machines can share the work. Prints what was missed
and the share that was caught, by file. Exit code 1 when that is below the bar in all. Copy and results stay in target/mutants/.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

# Where most changes went unnoticed once.
FILES = (
    "resolver/src/recursor/cache/delegations.rs",
    "resolver/src/recursor/cache/rrsets.rs",
    "resolver/src/recursor/query_context.rs",
    "resolver/src/recursor/lookup_chain.rs",
    "resolver/src/recursor/scrub.rs",
    "resolver/src/recursor/iterate.rs",
    "resolver/src/recursor/cached.rs",
    "resolver/src/recursor/minimiser.rs",
    "resolver/src/cache/mod.rs",
    "policy/src/identity/directory.rs",
)
# Percent.
BAR = 85
RESULTS = pathlib.Path("target/mutants")
# The copy, at the same place each time: what did not change is not compiled again.
TREE = RESULTS / "tree"
# A change that makes a loop endless is noticed by this; the tests of a crate take far less, also on a busy machine.
TEST_SECONDS_MIN = 120
# What a change can come to: it does not compile, and so says nothing; the tests fail or do not end; they pass.
UNVIABLE, CAUGHT, MISSED = ("Unviable",), ("CaughtMutant", "Timeout"), ("MissedMutant",)


def wanted(arguments):
    """The changes that are to be made, as cargo-mutants names them."""
    command = ["cargo", "mutants", "--workspace", "--list", *(word for file in arguments.files for word in ("--file", file))]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    if arguments.sample:
        names = sorted(random.Random(arguments.seed).sample(names, min(arguments.sample, len(names))))
    part, parts = map(int, arguments.shard.split("/"))
    if not 0 <= part < parts:
        sys.exit(f"--shard {arguments.shard}: parts are counted from 0")
    return names[part::parts]


def copy():
    """Makes the copy what the tree is now, also after a run that was killed in the middle of a change."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], check=True, capture_output=True, text=True)
    files = {pathlib.Path(name) for name in listed.stdout.split("\0") if name and pathlib.Path(name).is_file()}
    for file in files:
        there = TREE / file
        if not there.exists() or there.read_bytes() != file.read_bytes():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, there)
    for there in [path for path in TREE.rglob("*") if path.is_file() and path.relative_to(TREE) not in files]:
        there.unlink()


def play(names):
    """Makes the changes, one after the other."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str((RESULTS / "build").resolve()))
    # Tests that want real lists find them from the copy, too.
    environment.setdefault("OX_PROTECT_DATA", str(pathlib.Path("../shared/data").resolve()))
    command = ["cargo", "mutants", "--dir", str(TREE), "--in-place", "--workspace", "--test-tool", "nextest", "--profile", "mutants",
               "--output", str(RESULTS.resolve()), "--no-shuffle", "--minimum-test-timeout", str(TEST_SECONDS_MIN), "--colors", "never"]
    command += [word for file in sorted({name.partition(":")[0] for name in names}) for word in ("--file", file)]
    command += [word for name in names for word in ("--re", f"^{re.escape(name)}$")]
    # The first test that fails is enough.
    code = subprocess.run([*command, "--", "--fail-fast"], env=environment).returncode
    # 2 and 3: some were missed, some did not end. All else is no result.
    if code not in (0, 2, 3):
        sys.exit(f"cargo mutants ended with {code}")


def count(names, bar):
    """Prints what became of them. True when enough were caught."""
    names = set(names)
    with open(RESULTS / "mutants.out/outcomes.json", encoding="utf-8") as text:
        outcomes = json.load(text)["outcomes"]
    files, missed = collections.defaultdict(collections.Counter), []
    for outcome in outcomes:
        if outcome["scenario"] == "Baseline":
            continue
        mutant, summary = outcome["scenario"]["Mutant"], outcome["summary"]
        # cargo-mutants 27.1 lets no filter hold for fields that it deletes, so some come that were not drawn.
        if mutant["name"] not in names:
            continue
        files[mutant["file"]][summary] += 1
        if summary in MISSED:
            missed.append(mutant["name"])
    print("".join(f"missed: {name}\n" for name in sorted(missed)), end="")
    print(f"{'caught':>7} {'missed':>7} {'ratio':>6}  (did not compile)  file")
    total = sum(files.values(), collections.Counter())
    for name, results in [*sorted(files.items()), ("all", total)]:
        caught, lost = (sum(results[word] for word in words) for words in (CAUGHT, MISSED))
        ratio = 100 * caught / max(caught + lost, 1)
        print(f"{caught:7} {lost:7} {ratio:5.0f}%  {sum(results[word] for word in UNVIABLE):17}  {name}")
    return ratio >= bar


def main():
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--sample", type=int, default=0, help="draw so many; 0: all of them")
    reader.add_argument("--seed", type=int, default=None, help="repeats a sample")
    reader.add_argument("--shard", default="0/1", help="K/N: the K-th of N parts, from 0")
    reader.add_argument("--bar", type=float, default=BAR, help="percent that must be caught")
    reader.add_argument("files", nargs="*", metavar="FILE", default=list(FILES))
    arguments = reader.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(1_000_000)
    names = wanted(arguments)
    print(f"{len(names)} changes" + (f", SEED={arguments.seed}" if arguments.sample else ""), flush=True)
    if not names:
        sys.exit("no change is left to make")
    copy()
    play(names)
    if not count(names, arguments.bar):
        sys.exit(f"fewer than {arguments.bar:g} % of them were caught")


if __name__ == "__main__":
    main()
