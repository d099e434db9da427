"""The articles: gathered from the modules' catalogues, and checked for what docc does not check."""
import re
import shutil

from symbols import EXPORTED

MOST_COLUMNS = 120
# Words that the style replaces, and what by.
WORDS = {
    "anew": "again", "are to go": "retire", "at hand": "current", "for ever": "forever", "has not to": "need not",
    "in vain": "without result", "is to go": "retires", "shared out": "shared or sharded", "unless given": "by default",
    "whoever": "the one that",
}
FILE = re.compile(r"`([A-Za-z][A-Za-z0-9+_-]*\.(?:swift|c|h|docc|sbatch))`")
# `File.swift`, `one` and `other`: names that are in the file.
WITHIN = re.compile(r"`([A-Za-z+]+\.swift)`,\s((?:`\w+`(?:,\s|\sand\s)?)+)")
SCRIPT = re.compile(r"(?<![\w/.])scripts/[a-z0-9-]+(?:\.py)?")


def sources(root):
    """All articles, each with its module's catalogue."""
    for module in EXPORTED:
        for catalogue in sorted((root / "Sources" / module).glob("*.docc")):
            yield from sorted(path for path in catalogue.rglob("*.md"))


def assemble(root, catalogue):
    """Copies all catalogues into one."""
    catalogue.mkdir(parents=True)
    for module in EXPORTED:
        for source in sorted((root / "Sources" / module).glob("*.docc")):
            shutil.copytree(source, catalogue / module)
    return catalogue


def wire(root):
    """What the article on the wire protocol says of versions and kinds, beside the source."""
    page = next(path for path in sources(root) if path.name == "WireProtocol.md").read_text()
    handshake = next((root / "Sources" / "Wire").rglob("Handshake.swift")).read_text()
    version = re.search(r"let version: UInt16 = (\d+)", handshake).group(1)
    faults = []
    if f"one version of the protocol, {version}." not in page:
        faults.append(f"WireProtocol.md: the protocol has version {version}")
    coding = next((root / "Sources" / "Wire").rglob("ControlMessage+Coding.swift")).read_text()
    kinds = re.search(r"enum Kind: UInt8 \{(.*?)\n    \}", coding, re.DOTALL).group(1)
    names = re.findall(r"\w+", re.sub(r"\bcase\b|= 1\b", " ", kinds))
    for kind, name in enumerate(names, 1):
        if f"| {kind} | `{name}` |" not in page:
            faults.append(f"WireProtocol.md: the message {name} has kind {kind}")
    return faults


def named(root):
    """Environment variables, and members of a metrics record, that their pages lack."""
    pages = {path.name: path.read_text() for path in sources(root)}
    swift = [path.read_text() for path in (root / "Sources").rglob("*.swift")]
    variables = {name for text in swift for name in re.findall(r'"(LOCKSTEP_[A-Z_]+)"', text)}
    record = next((root / "Sources" / "Telemetry").rglob("StepMetrics.swift")).read_text()
    members = set(re.findall(r'\("([a-z_]+)", ', record))
    wanted = [("EnvironmentVariables.md", name) for name in sorted(variables)]
    wanted += [("MetricsAndJobFiles.md", name) for name in sorted(members)]
    return [f"{page} lacks `{name}`" for page, name in wanted if f"`{name}`" not in pages[page]]


def within(root, path):
    """Names that an article looks for in a file, and that are not there."""
    faults = []
    for file, names in WITHIN.findall(path.read_text()):
        found = list((root / "Sources").rglob(file))
        text = found[0].read_text() if found else ""
        faults += [
            f"{path.name}: there is no {name} in {file}"
            for name in re.findall(r"`(\w+)`", names) if not re.search(rf"\b{name}\b", text)
        ]
    return faults


def check(root, reference):
    """Faults of all articles."""
    files = {path.name for folder in ("Sources", "Tests", "cluster") for path in (root / folder).rglob("*")}
    files |= {path.name for path in root.iterdir()}
    faults = wire(root) + named(root)
    for path in sources(root):
        faults += within(root, path)
        in_code, shown = False, ""
        for number, line in enumerate(path.read_text().splitlines(), 1):
            where = f"{path.relative_to(root)}:{number}"
            if line.startswith("```"):
                in_code = not in_code
            if len(line) > MOST_COLUMNS and not line.startswith("|"):
                faults.append(f"{where}: {len(line)} columns, at most {MOST_COLUMNS}")
            faults += [f"{where}: there is no file {name}" for name in FILE.findall(line) if name not in files]
            faults += [f"{where}: there is no {name}" for name in SCRIPT.findall(line) if not (root / name).exists()]
            # What the program's own help says is the program's.
            if not in_code and path.parent.name != "Commands":
                faults += [
                    f'{where}: the style has no "{match}" (rather: {better})'
                    for word, better in WORDS.items() for match in re.findall(rf"\b{word}\b", line, re.IGNORECASE)
                ]
            shown = shown.removesuffix("\\") + line
            if not line.endswith("\\"):
                faults += [f"{where}: {fault}" for fault in reference.faults(shown)]
                shown = ""
    return faults
