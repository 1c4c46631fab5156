#!/usr/bin/python3
"""Counts what was played beside what Unbound does with the same scenarios: count.py FOLDER RESULTS

FOLDER holds the scenario runner, its scenarios and its baselines; RESULTS the JSON lines of play.sh. A scenario counts as passed when the
runner says "pass", strict or not. Further scenarios (`cases` in RESULTS) are a group of their own, without a baseline. Exit code 1
when Unbound passes a scenario of the group "iteration and caching" that we do not pass, or a further one does not pass, and explained.toml
gives no reason for it.
"""
import csv
import json
import pathlib
import re
import sys
import tomllib

# Suite, baseline, and the column of Unbound in it.
SUITES = (("unbound", "unbound-rpl-baseline.csv", "unbound-1.26.2"), ("deckard", "deckard-baseline.csv", "unbound-1.17.1"))
# Of the runner's reason: enough for the difference, too little for a whole signature.
REASON_CHARACTERS = 200
PASSES = ("pass", "strict")
ITERATION, DNSSEC, LEGACY, OTHER = "iteration and caching", "DNSSEC", "DNSSEC, keys that no current library verifies", "other"
CASES = "further scenarios"
# What a template looks up to end a scenario that needs what we have not.
LACKS = re.compile(r"adapter lacks: [^'\"]*")
ITERATION_NAME = re.compile(r"(iter|fwd|rrset|ttl|trust|serve|edns|disable_edns|black)_")
# What makes a scenario one about serving and admitting clients: words of the runner's neutral model, and Unbound's options.
OTHER_TRADE = ("auth_zones", "views", "rpz", "response_ip", "local_zones", "local_data")
OTHER_OPTIONS = ("access-control-tag", "access-control-view")


def group(rpl, path):
    """The group of a scenario, by what its header asks of a resolver."""
    scenario = rpl.parse(path)
    model = rpl.model(scenario)
    if any(model[word] for word in OTHER_TRADE) or any(option in model["options"] for option in OTHER_OPTIONS):
        return OTHER
    if model["trust_anchors"]:
        return DNSSEC if rpl.modern_crypto(scenario) else LEGACY
    return ITERATION if ITERATION_NAME.match(path.stem) else OTHER


def outcome(row):
    """Our result, and the reason where it is no pass."""
    ours, error = "strict" if row["strict"] else row["result"], row["error"] or ""
    lacks = LACKS.search(error)
    if lacks:
        ours, error = "unsupported", lacks[0]
    return ours, " ".join(filter(None, ("" if ours == "fail" else f"{ours}:", error)))[:REASON_CHARACTERS]


def played(results, suite):
    """What was played of a suite, by the scenario's name."""
    with open(results / f"{suite}.jsonl", encoding="utf-8") as lines:
        return {row["scenario"]: row for row in map(json.loads, lines)}


def read(folder, results):
    """One row for each scenario: (group, suite, name, our result, our reason, Unbound's result)."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    import rpl  # The runner's own reader of scenarios.

    for suite, baseline, column in SUITES:
        ours = played(results, suite)
        with open(folder / "results" / baseline, encoding="utf-8") as lines:
            theirs = {row["scenario"]: row[column] for row in csv.DictReader(lines)}
        for path in sorted((folder / "scenarios" / suite).glob("*.rpl")):
            row = ours.get(path.stem, {"result": "not played", "strict": False, "error": None})
            yield group(rpl, path), suite, path.stem, *outcome(row), theirs.get(path.stem, "no baseline")
    if (results / "cases.jsonl").exists():
        for name, row in sorted(played(results, "cases").items()):
            yield CASES, "cases", name, *outcome(row), None


def main(folder, results):
    with open(pathlib.Path(__file__).with_name("explained.toml"), "rb") as text:
        reasons = tomllib.load(text)
    of_groups = reasons.pop("groups", {})
    explained = {(suite, name): reason for suite, names in reasons.items() for name, reason in names.items()}
    rows = list(read(folder, results))
    unexplained = 0
    for title in (ITERATION, DNSSEC, LEGACY, OTHER, CASES):
        ours, theirs, ours_strict, theirs_strict, missed = 0, 0, 0, 0, []
        members = [row for row in rows if row[0] == title]
        for _, suite, name, our, reason, their in members:
            ours, theirs = ours + (our in PASSES), theirs + (their in PASSES)
            ours_strict, theirs_strict = ours_strict + (our == "strict"), theirs_strict + (their == "strict")
            why = explained.pop((suite, name), None)
            if our in PASSES and why:
                print(f"explained.toml excuses {suite}/{name}, which passes: remove it there")
            if our not in PASSES and (their in PASSES or title == CASES):
                missed.append(f"  {suite}/{name}: {reason}" + (f"\n    explained: {why}" if why else ""))
                unexplained += title in (ITERATION, CASES) and not why
        if title != CASES:
            print(f"{title}: ours {ours}, Unbound {theirs}, of {len(members)} (strict: ours {ours_strict}, Unbound {theirs_strict})")
        elif members:
            print(f"{title}: ours {ours} of {len(members)} (strict: {ours_strict})")
        if title in of_groups:
            print(f"  explained: {of_groups[title]}")
        print("".join(line + "\n" for line in missed), end="")
    for suite, name in explained:
        if suite != "cases":
            print(f"explained.toml excuses {suite}/{name}, which is no scenario")
    if unexplained:
        print(f"{unexplained} scenarios that Unbound passes, or that are further ones, fail here without a reason in explained.toml")
    return 1 if unexplained or any(suite != "cases" for suite, _ in explained) else 0


if __name__ == "__main__":
    sys.exit(main(*map(pathlib.Path, sys.argv[1:])))
