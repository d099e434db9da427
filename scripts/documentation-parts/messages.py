"""Every message that the program can print is on the page of messages, word for word.

A message is a string in the source that has several words, and is neither a precondition nor help. What stands between
its interpolations has to be on the page; the longest such piece is looked for. Names of what is interpolated are the
page's own, in capitals.
"""
import re

PAGE = "Reference/Messages.md"
# Programs that show how the library is used.
MODULES_WITHOUT = {"Examples"}
# Text that is hashed, or names what is embedded.
NO_MESSAGES = {"lockstep weights 1", "the embedded digits.csv.gz"}
# What comes before a string that users never see as a message: a bug of ours, or help.
BEFORE_OTHERS = re.compile(
    r"precondition|fatalError|assert|#error|let source|let files|purpose:|help:|title:|abstract|discussion:|usage:"
    r"|ArgumentHelp|dataHelp")
# Flags with their values, and nothing else.
FLAGS = re.compile(r"(--[a-z-]+( [^\s-]\S*)?( |$))+")
# A line that goes on in the next one.
GOES_ON = re.compile(r"(\(|,|\+|:|\?|=|&&|\|\||\\|>)$")
CONTINUES = ("+", "?", ":", "&&", "||", ".")
LEAST_WORDS = 3
LEAST_LETTERS = 12
SIMPLE_INTERPOLATION = re.compile(r"\\\([^()]*(?:\([^()]*\)[^()]*)*\)")


def literals(text):
    """Each string of a Swift file, comments left out: its line, its offset, and the pieces between interpolations."""
    index, line = 0, 1
    while index < len(text):
        if text.startswith("//", index):
            index = text.find("\n", index)
            if index < 0:
                return
        elif text.startswith("/*", index):
            end = text.find("*/", index) + 2
            line += text.count("\n", index, end)
            index = end
        elif text.startswith('"""', index):
            end = text.find('"""', index + 3)
            body = text[index + 3:end]
            yield line, index, SIMPLE_INTERPOLATION.split(body.replace("\\\n", ""))
            line += body.count("\n")
            index = end + 3
        elif text[index] == '"':
            start = index
            pieces, index = pieces_of_literal(text, index + 1)
            yield line, start, pieces
        else:
            line += text[index] == "\n"
            index += 1


def pieces_of_literal(text, index):
    """The pieces of a string that begins at an offset, and the offset behind its closing quote."""
    pieces, piece = [], ""
    while text[index] != '"':
        if text.startswith("\\(", index):
            pieces.append(piece)
            piece = ""
            index = end_of_interpolation(text, index + 2)
        elif text[index] == "\\":
            piece += {"n": " ", "t": " "}.get(text[index + 1], text[index + 1])
            index += 2
        else:
            piece += text[index]
            index += 1
    return [*pieces, piece], index + 1


def end_of_interpolation(text, index):
    """The offset behind the parenthesis that ends an interpolation."""
    depth = 1
    while depth:
        if text[index] == '"':
            _, index = pieces_of_literal(text, index + 1)
            continue
        depth += (text[index] == "(") - (text[index] == ")")
        index += 1
    return index


def is_no_message(text, start):
    """Whether the statement around a string is one whose strings are no messages."""
    lines = text[max(0, start - 400):start].split("\n")
    statement = lines[-1]
    for line in reversed(lines[:-1]):
        if not GOES_ON.search(line.strip()) and not statement.strip().startswith(CONTINUES):
            break
        statement = line + "\n" + statement
    return bool(BEFORE_OTHERS.search(statement))


def messages(root):
    """Each message of the source: where it is, and its longest piece."""
    for path in sorted((root / "Sources").rglob("*.swift")):
        if path.relative_to(root / "Sources").parts[0] in MODULES_WITHOUT:
            continue
        text = path.read_text()
        for line, start, pieces in literals(text):
            if len("".join(pieces).split()) < LEAST_WORDS or is_no_message(text, start):
                continue
            longest = max((" ".join(piece.split()) for piece in pieces), key=len).strip(" .,;:()'\"")
            if FLAGS.fullmatch(longest) or longest in NO_MESSAGES:
                continue
            if len(longest) >= LEAST_LETTERS and " " in longest:
                yield f"{path.relative_to(root)}:{line}", longest


def check(root):
    """Messages that the page lacks."""
    def plain(text):
        return " ".join(text.replace("`", "").replace("\\", "").split())

    page = plain((root / "Sources" / "Lockstep" / "Lockstep.docc" / PAGE).read_text())
    return [f'{where}: {PAGE} lacks "{piece}"' for where, piece in messages(root) if plain(piece) not in page]
