"""Where the tools are, and what the build has left for them."""
import json
import shutil
import subprocess
import sys
from pathlib import Path


class Toolchain:
    def __init__(self, root):
        self.root = root
        self.swiftc = self._tool("swiftc")
        self.docc = self._tool("docc")
        self.extractor = self._tool("swift-symbolgraph-extract")
        shown = subprocess.run(
            ["swift", "build", "-c", "release", "--show-bin-path"], cwd=root, check=True, capture_output=True,
            text=True)
        self.products = Path(shown.stdout.strip().splitlines()[-1])
        self.program = self.products / "lockstep"
        info = subprocess.run([self.swiftc, "-print-target-info"], check=True, capture_output=True, text=True)
        self.target = json.loads(info.stdout)["target"]["triple"]

    def _tool(self, name):
        """A tool in PATH, or beside the compiler."""
        path = shutil.which(name)
        if path:
            return path
        compiler = shutil.which("swiftc")
        if compiler:
            beside = Path(compiler).resolve().parent / name
            if beside.exists():
                return str(beside)
        sys.exit(f"documentation: there is no {name} in PATH, nor beside swiftc: install a whole Swift toolchain")

    @property
    def module_flags(self):
        """What the compiler needs to find the package's modules, Swift and C."""
        flags = ["-I", str(self.products / "Modules")]
        for module in sorted(self.root.glob("Sources/C*/**/module.modulemap")):
            flags += ["-Xcc", f"-fmodule-map-file={module}"]
        written = {path.name for path in self.root.glob("Sources/C*") if list(path.glob("**/module.modulemap"))}
        for module in sorted(self.products.glob("C*.build/module.modulemap")):
            if module.parent.name.removesuffix(".build") not in written:
                flags += ["-Xcc", f"-fmodule-map-file={module}"]
        for headers in sorted(self.root.glob("Sources/C*/include")):
            flags += ["-Xcc", f"-I{headers}"]
        return flags
