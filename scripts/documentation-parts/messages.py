"""Every message that the program can print is on the page of messages, word for word.

A message is a string in the source that has several words and is neither a precondition nor help. What stands between
its interpolations must be on the page; the longest such piece is looked for.
"""
import re

PAGE = "Sources/Lockstep/Lockstep.docc/Reference/Messages.md"
# Programs that show how the library is used.
MODULES_WITHOUT = {"Contrast", "Examples", "Spirals"}
# Coding of JSON by types, which nothing that prints uses.
FILES_WITHOUT = {"JSONDecoding.swift", "JSONEncoding.swift"}
# Calls whose strings are not for users: bugs of ours, and help.
NOT_MESSAGES = re.compile(
    r"(precondition|preconditionFailure|fatalError|assert|#error|help:|abstract|discussion:|usage:|ArgumentHelp|dataHelp|purpose:"
    r"|let source)")
# Text that is hashed, or names what is embedded.
NO_MESSAGES = {"lockstep weights 1", "the embedded digits.csv.gz"}
LEAST_WORDS = 3
LEAST_LETTERS = 12


def literals(text):
    """Each string literal of a Swift file as (line, pieces between interpolations), comments left out."""
    index, line, result = 0, 1, []
    length = len(text)
    while index < length:
        if text.startswith("//", index):
            index = text.find("\n", index)
            if index < 0:
                break
        elif text.startswith("/*", index):
            end = text.find("*/", index) + 2
            line += text.count("\n", index, end)
            index = end
        elif text.startswith('"""', index):
            end = text.find('"""', index + 3)
            body = text[index + 3:end]
            result.append((line, index, re.split(r"\\\([^()]*(?:\([^()]*\)[^()]*)*\)", " ".join(re.sub(r"\\\n", "", body).split()))))
            line += body.count("\n")
            index = end + 3
        elif text[index] == '"':
            pieces, piece, start, began = [], "", index, line
            index += 1
            while text[index] != '"':
                if text.startswith("\\(", index):
                    pieces.append(piece)
                    piece = ""
                    index = _afterInterpolation(text, index + 2)
                elif text[index] == "\\":
                    piece += {"n": " ", "t": " "}.get(text[index + 1], text[index + 1])
                    index += 2
                else:
                    piece += text[index]
                    index += 1
            index += 1
            pieces.append(piece)
            result.append((began, start, pieces))
        else:
            line += text[index] == "\n"
            index += 1
    return result


def _afterInterpolation(text, index):
    """The place after the parenthesis that ends an interpolation; strings within it are skipped."""
    depth = 1
    while depth:
        if text[index] == '"':
            index += 1
            while text[index] != '"':
                if text.startswith("\\(", index):
                    index = _afterInterpolation(text, index + 2)
                else:
                    index += 2 if text[index] == "\\" else 1
        depth += (text[index] == "(") - (text[index] == ")")
        index += 1
    return index


def messages(root):
    """Each message of the source: where, and its longest piece."""
    for path in sorted((root / "Sources").rglob("*.swift")):
        module = path.relative_to(root / "Sources").parts[0]
        if module in MODULES_WITHOUT or path.name in FILES_WITHOUT:
            continue
        text = path.read_text()
        for line, start, pieces in literals(text):
            whole = "".join(pieces)
            if len(whole.split()) < LEAST_WORDS or _isNoMessage(text, start):
                continue
            longest = max((" ".join(piece.split()) for piece in pieces), key=len).strip(" .,;:()'\"")
            if len(longest) >= LEAST_LETTERS and " " in longest and longest not in NO_MESSAGES:
                yield f"{path.relative_to(root)}:{line}", longest


def _isNoMessage(text, start):
    """Whether the statement around a literal is one whose strings users never see."""
    before = text[max(0, start - 400):start]
    # Back to the beginning of the statement: the last line that ends with neither an operator nor an open bracket.
    lines = before.split("\n")
    statement = lines[-1]
    for line in reversed(lines[:-1]):
        stripped = line.strip()
        if not stripped or not re.search(r"(\(|,|\+|:|\?|=|&&|\|\||\\|>)$", stripped) and not statement.strip().startswith(("+", "?", ":", "&&", "||", ".")):
            break
        statement = line + "\n" + statement
    return bool(NOT_MESSAGES.search(statement))


def check(root):
    page = " ".join((root / PAGE).read_text().replace("`", "").replace("\\", "").split())
    return [
        f'{where}: the page of messages ({PAGE.rsplit("/", 1)[-1]}) lacks "{piece}"' for where, piece in messages(root)
        if piece.replace("`", "").replace("\\", "") not in page
    ]
