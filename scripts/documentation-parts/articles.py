"""The articles: gathered from the modules' catalogues, and checked for what docc does not check."""
import re
import shutil

from symbols import EXPORTED

MOST_COLUMNS = 120
# Words that the style replaces, and what by.
WORDS = {
    r"anew": "again", r"in vain": "without result", r"whoever": "the one that", r"for ever": "forever", r"at hand": "current",
    r"unless given": "by default", r"shared out": "shared or sharded", r"is to go": "retires", r"are to go": "retire",
    r"has not to": "need not", r"befalls?": "happens to", r"whence": "from where", r"thereof": "of it", r"hither": "here",
}
FILE = re.compile(r"`([A-Za-z][A-Za-z0-9+_-]*\.(?:swift|c|h|docc|sbatch))`")
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


def check(root, reference):
    """Faults of all articles."""
    files = {path.name for folder in ("Sources", "Tests", "cluster") for path in (root / folder).rglob("*")}
    files |= {path.name for path in root.iterdir()}
    faults = []
    for path in sources(root):
        in_code = False
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
            faults += [f"{where}: {fault}" for fault in reference.faults(line)]
    return faults
