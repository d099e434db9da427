"""Swift listings in the articles compile.

A listing that begins with `import` is a whole program. Any other is a part of one: it is compiled inside of a function
in which the names of the tutorial's program (listing-context.swift) are there.
"""
import re
import subprocess
from pathlib import Path

import articles

CONTEXT = Path(__file__).resolve().parent / "listing-context.swift"
DECLARATION = re.compile(r"(func|struct|final class|enum|protocol) ")
LISTING = re.compile(r"^```swift\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def check_listings(toolchain, work):
    """What the compiler has to say."""
    work.mkdir(parents=True)
    parts = [CONTEXT.read_text()]
    faults = []
    for path in articles.sources(toolchain.root):
        text = path.read_text()
        for match in LISTING.finditer(text):
            line = text[:match.start()].count("\n") + 2
            name = str(path.relative_to(toolchain.root))
            location = f'#sourceLocation(file: "{name}", line: {line})\n'
            listing = match.group(1)
            if listing.startswith("import "):
                program = work / f"{path.stem}-{line}"
                program.mkdir()
                (program / "main.swift").write_text(location + listing)
                faults += _compile(toolchain, program / "main.swift")
            elif DECLARATION.match(listing):
                parts.append(f"enum Listing{len(parts)} {{\n{location}{listing}}}\n#sourceLocation()\n")
            else:
                function = f"func listing{len(parts)}() throws {{\n{location}{listing}\n#sourceLocation()\n}}"
                parts.append(f"extension Context {{\n{function}\n}}\n")
    whole = work / "Listings.swift"
    whole.write_text("\n".join(parts))
    return faults + _compile(toolchain, whole)


def _compile(toolchain, path):
    result = subprocess.run(
        [toolchain.swiftc, "-typecheck", "-swift-version", "6", *toolchain.module_flags, str(path)], cwd=toolchain.root,
        capture_output=True, text=True)
    if result.returncode == 0:
        return []
    errors = [line for line in result.stderr.splitlines() if ": error:" in line]
    return [f"listing: {line}" for line in errors or result.stderr.splitlines()[:3]]
