"""Find calls that read or write text in the encoding of the locale."""

import ast

OWN_OPEN = ("os", "gzip", "Image", "tarfile", "zipfile", "archive", "FORKED")  # their open takes no text


def unspecified(path):
    """Return the lines of a file's calls that read or write text and name no encoding."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if takes_text(call) and "encoding" not in keywords(call)]


def keywords(call):
    return {keyword.arg: keyword.value for keyword in call.keywords}


def takes_text(call):
    owner, _, name = ast.unparse(call.func).rpartition(".")
    if name == "open" and owner not in OWN_OPEN:
        modes = [*call.args[0 if owner else 1 :][:1], keywords(call).get("mode")]
        return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)
    if name in ("read_text", "write_text"):
        return len(call.args) == (name == "write_text")
    return name in ("run", "Popen", "check_output") and "text" in keywords(call)
