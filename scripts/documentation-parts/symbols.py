"""Symbol graphs: taken from the built modules, checked for comments, joined under the name that programs import."""
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What `import Lockstep` brings in, and the module itself.
EXPORTED = [
    *re.findall(r"^@_exported import (\w+)$", (ROOT / "Sources/Lockstep/Lockstep.swift").read_text(), re.MULTILINE),
    "Lockstep",
]
# Other modules, of which programs see nothing by themselves.
INNER = [
    path.name for path in sorted((ROOT / "Sources").iterdir())
    if path.name not in [*EXPORTED, "LockstepCommand", "Examples"] and any(path.rglob("*.swift"))
]
LIST = Path(__file__).resolve().parent / "undocumented.txt"


def extract(toolchain, directory):
    """Writes a graph for each module; a comment that a protocol's requirement has counts for what fulfils it."""
    directory.mkdir(parents=True)
    for module in EXPORTED + INNER:
        if not (toolchain.products / "Modules" / f"{module}.swiftmodule").exists():
            sys.exit(f"documentation: there is no built module {module}: build first (swift build -c release)")
        subprocess.run(
            [
                toolchain.extractor, "-module-name", module, "-target", toolchain.target,
                "-minimum-access-level", "public", "-skip-synthesized-members", "-output-dir", str(directory),
                *toolchain.module_flags,
            ], check=True)
    return directory


def _graphs(directory, module):
    return [directory / f"{module}.symbols.json", *sorted(directory.glob(f"{module}@*.symbols.json"))]


def undocumented(directory):
    """Public declarations without a comment that are not in the list, and those in the list that have one by now."""
    known = {line.strip() for line in LIST.read_text().splitlines() if line.strip() and not line.startswith("#")}
    found = {}
    for module in EXPORTED + INNER:
        for path in _graphs(directory, module):
            for symbol in json.loads(path.read_text())["symbols"]:
                # What the compiler makes has no place in a file.
                if "location" not in symbol or "docComment" in symbol:
                    continue
                name = f"{module}.{'.'.join(symbol['pathComponents'])}"
                position = symbol["location"]
                where = f"{Path(position['uri']).name}:{position['position']['line'] + 1}"
                found.setdefault(name, where)
    faults = [f"{found[name]}: {name} has no documentation comment" for name in sorted(set(found) - known)]
    return faults + [
        f"undocumented.txt: {name} has a comment, or is gone: take it off the list"
        for name in sorted(known - set(found))
    ]


def join(directory, joined):
    """One graph of all that `import Lockstep` brings in, as if it were declared in that module."""
    joined.mkdir(parents=True)
    whole = None
    for module in reversed(EXPORTED):
        for path in _graphs(directory, module):
            graph = json.loads(path.read_text())
            if whole is None:
                whole = graph
                continue
            whole["symbols"] += graph["symbols"]
            whole["relationships"] += graph["relationships"]
    (joined / "Lockstep.symbols.json").write_text(json.dumps(whole))
    return joined
