"""Find calls that read or write text in the encoding of the locale."""

import ast

OWN_OPEN = ("os", "gzip", "Image", "zipfile", "archive", "FORKED")  # their open takes no text


def name_of(function):
    """Return the name of a called function, and of what it is called on."""
    if isinstance(function, ast.Attribute):
        return function.attr, function.value.id if isinstance(function.value, ast.Name) else ""
    return (function.id if isinstance(function, ast.Name) else ""), ""


def is_text(call, name):
    """Return whether an `open` is of a text file."""
    modes = [keyword.value for keyword in call.keywords if keyword.arg == "mode"]
    modes += call.args[1 if isinstance(call.func, ast.Name) else 0 :][:1]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


def unspecified(path):
    """Return the calls of a file that name no encoding, each with its keyword `text` if it has one."""
    found = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        (name, owner), given = name_of(call.func), {keyword.arg: keyword for keyword in call.keywords}
        if "encoding" in given:
            continue
        opens = name == "open" and owner not in OWN_OPEN and is_text(call, name)
        reads = name in ("read_text", "write_text") and len(call.args) == (name == "write_text")
        if opens or reads or ("text" in given and name in ("run", "Popen", "check_output")):
            found.append((call, given.get("text") if not (opens or reads) else None))
    return found
