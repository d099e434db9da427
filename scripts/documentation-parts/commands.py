"""The reference of commands, made from the program's own help."""
import json
import re
import subprocess
import textwrap
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "Sources" / "Lockstep" / "Lockstep.docc" / "Commands"
COLUMNS = 120
# Flags of every command, which the first page explains.
COMMON = {"help", "version"}


class Reference:
    def __init__(self, program):
        self.program = program
        dump = subprocess.run([program, "--experimental-dump-help"], check=True, capture_output=True, text=True).stdout
        self.root = json.loads(dump)["command"]
        self.commands = [command for command in self.root["subcommands"] if command["commandName"] != "help"]
        self.flags = {}
        self._collect(self.root, [])

    def _collect(self, command, path):
        path = path + [command["commandName"]]
        names = set()
        for argument in command.get("arguments", []):
            for name in argument.get("names", []):
                names.add(("-" if name["kind"] == "short" else "--") + name["name"])
        self.flags[tuple(path)] = names
        for child in command.get("subcommands", []):
            self._collect(child, path)

    def pages(self):
        """The text of each page, by file."""
        pages = {"Commands.md": self._overview()}
        for command in self.commands:
            pages[f"command-{command['commandName']}.md"] = self._page(command)
        return pages

    def write(self):
        FOLDER.mkdir(parents=True, exist_ok=True)
        for old in FOLDER.glob("*.md"):
            old.unlink()
        for name, text in self.pages().items():
            (FOLDER / name).write_text(text)

    def stale(self):
        """Pages that are not what the program says."""
        pages = self.pages()
        there = {path.name for path in FOLDER.glob("*.md")}
        return [
            f"Commands/{name} is not what `lockstep --help` says: run scripts/documentation --update"
            for name in sorted(there | set(pages))
            if name not in there or name not in pages or (FOLDER / name).read_text() != pages[name]
        ]

    def faults(self, line):
        """Flags in a line of an article that the command which it shows does not have."""
        faults = []
        for match in re.finditer(r"(?<![\w/.-])(?:\S*/)?lockstep ((?:[a-z0-9]+ )?[a-z0-9]+)\b([^`#|;&]*)", line):
            words = match.group(1).split()
            path = None
            for count in (2, 1):
                if ("lockstep", *words[:count]) in self.flags:
                    path = ("lockstep", *words[:count])
                    break
            if path is None:
                continue
            own = match.group(2).split(" -- ")[0]
            known = set().union(*(flags for key, flags in self.flags.items() if key[:len(path)] == path))
            for flag in re.findall(r"(?<!\S)(--?[a-z][a-z0-9-]*)", own):
                if flag not in known:
                    faults.append(f"{' '.join(path)} has no {flag}")
        return faults

    # Pages

    def _overview(self):
        text = "# Commands\n\nEverything that the program `lockstep` does, and every flag.\n\n## Overview\n\n"
        text += _wrapped(
            "These pages are made from the program's own help, which `--help` prints after every command. "
            "`lockstep --version` prints the version, the number of the arithmetic (<doc:WhatTheBitsDependOn>) and the "
            "kernels in use on this CPU.")
        text += "\n" + _discussion(self.root["discussion"].split("\n\n")[0])
        text += _wrapped(
            "A script that completes commands and flags on Tab comes from the program as well: "
            "`lockstep --generate-completion-script bash`, `zsh` or `fish`.")
        text += "\n## Topics\n\n### Commands\n\n"
        text += "".join(f"- <doc:command-{command['commandName']}>\n" for command in self.commands)
        return text

    def _page(self, command):
        name = command["commandName"]
        text = f"# lockstep {name}\n\n{_wrapped(command['abstract'])}\n## Overview\n\n"
        children = command.get("subcommands", [])
        if not children:
            return text + self._body(command, [name], _options(command))
        if command.get("discussion"):
            text += _discussion(command["discussion"])
        lists = [_options(child) for child in children]
        common = [option for option in lists[0] if all(option in other for other in lists[1:])]
        for child, own in zip(children, lists):
            text += f"## {name} {child['commandName']}\n\n{_wrapped(child['abstract'])}\n"
            text += self._body(child, [name, child["commandName"]], [option for option in own if option not in common])
        text += f"## Options of every lockstep {name}\n\n"
        return text + _list(common)

    def _body(self, command, path, options):
        text = f"```\n{self._usage(path)}\n```\n\n"
        if command.get("discussion"):
            text += _discussion(command["discussion"])
        return text + _list(options) + ("\n" if options else "")

    def _usage(self, path):
        shown = subprocess.run([self.program, *path, "--help"], check=True, capture_output=True, text=True).stdout
        usage = re.search(r"^USAGE: (.*?)\n\n", shown, re.MULTILINE | re.DOTALL).group(1)
        words = " ".join(usage.split())
        # A usage that lists every flag says less than the list below.
        if len(words) > 200:
            required = [option for option in re.findall(r"(?<!\[)--[a-z-]+ <[a-z-]+>(?!\])", words)]
            words = " ".join(["lockstep", *path, *required, "[<options>]"])
        return _wrapped(words, "    ").rstrip()


def _options(command):
    return [
        argument for argument in command.get("arguments", [])
        if argument.get("shouldDisplay") and argument.get("preferredName", {}).get("name") not in COMMON
    ]


def _list(options):
    """All options, under the titles of their groups where they have some."""
    titles = list(dict.fromkeys(option.get("sectionTitle") for option in options))
    lists = []
    for title in titles:
        entries = "\n".join(_entry(option) for option in options if option.get("sectionTitle") == title)
        lists.append(f"### {title}\n\n{entries}" if title else entries)
    return "\n".join(lists)


def _entry(option):
    """One option as an item of a list of terms."""
    value = f" <{option.get('valueName')}>" if option["kind"] == "option" else ""
    names = [("-" if name["kind"] == "short" else "--") + name["name"] for name in option.get("names", [])]
    term = ", ".join(f"`{name}{value}`" for name in names) or f"`<{option['valueName']}>`"
    text = option.get("abstract", "").strip()
    if text and text[-1] not in ".!?":
        text += "."
    if option.get("allValues"):
        text += " One of " + ", ".join(f"`{value}`" for value in option["allValues"]) + "."
    if "defaultValue" in option:
        text += f" Default: `{option['defaultValue']}`."
    elif not option.get("isOptional"):
        text += " Required."
    return _wrapped(f"- term {term}: {_escaped(text)}", "  ")


def _discussion(text):
    """Paragraphs as they are; lines that show commands as a listing."""
    result = ""
    for paragraph in text.strip("\n").split("\n\n"):
        lines = paragraph.splitlines()
        if all(line.startswith("  ") or line.strip().startswith("lockstep ") for line in lines):
            result += "```\n" + "\n".join(line.strip() for line in lines) + "\n```\n\n"
        else:
            result += _wrapped(_escaped(" ".join(lines))) + "\n"
    return result


def _escaped(text):
    """Flags as code, with the value behind them in a list of defaults; and no markup by chance."""
    parts = text.split("`")
    flag = r"(?<![\w-])(--?[a-z][a-z0-9-]*)"
    for index in range(0, len(parts), 2):
        if parts[index].startswith("Unless given: "):
            parts[index] = re.sub(flag + r"( [^\s;-][^\s;]*)?", r"`\1\2`", parts[index])
        else:
            parts[index] = re.sub(r"((?:[A-Z_]+=\S+ )+)?lockstep (?:bench|check|run|scale|train)\b[^;,.]*$|" + flag,
                                  lambda match: f"`{match.group(0)}`", parts[index])
        parts[index] = parts[index].replace("*", r"\*") if "`" not in parts[index] else parts[index]
    return "`".join(parts)


def _wrapped(text, indent=""):
    return textwrap.fill(
        text, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) + "\n"
