"""Install packages into the environment whose Python runs this: .venv/bin/python -I tools/install.py [FILE].

Without a FILE it installs the project and requirements.txt, with uv, or with pip where uv cannot be used; both check
every file against its hash and build nothing. With a FILE it installs that, by pip. Of pip's settings, only those for
reaching packages apply: index, proxy, certificates. All others, such as PIP_USER or a constraint, would change what is
installed.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "build" / "install.log"
PINNED = ROOT / "requirements.txt"
HASHED = ("--require-hashes", "--only-binary", ":all:")
# pip's settings that apply, and the variable by which uv knows each
REACH = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
    "no-cache-dir": "UV_NO_CACHE",
    "cache-dir": None,
    "use-feature": None,  # how pip finds certificates
    "use-deprecated": None,
}
UV_REACH = ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_CACHE_DIR", "UV_LINK_MODE", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
UNREACHABLE = re.compile(
    "NewConnectionError|Name or service|Temporary failure|ConnectTimeout|ReadTimeout|dns error|error sending request"
    "|ProxyError|Could not connect|tcp connect"
)


def settings(listing: str) -> dict[str, str]:
    """Return what `pip config list` prints of the settings in `REACH`: pip's own order of precedence is kept."""
    lines = [line.partition("=") for line in listing.splitlines() if "=" in line]
    entries = [(*name.rpartition("."), ast.literal_eval(value)) for name, _, value in lines]
    sections = {"global": 0, "install": 1, ":env:": 2}
    entries = [entry for entry in entries if entry[0] in sections and entry[2] in REACH]
    return {name: " ".join(str(value).split()) for _, _, name, value in sorted(entries, key=lambda e: sections[e[0]])}


def environments(
    pip_settings: dict[str, str], variables: dict[str, str], cache: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment variables for pip and for uv.

    Args:
        pip_settings: what `settings` returns.
        variables: the reader's environment variables.
        cache: where uv keeps what it downloads, unless the reader says where.
    """
    base = {name: value for name, value in variables.items() if not name.startswith(("PIP_", "UV_", "PYTHON"))}
    index = variables.get("UV_DEFAULT_INDEX") or variables.get("UV_INDEX_URL")
    if index and "index-url" not in pip_settings:
        pip_settings = pip_settings | {"index-url": re.sub(r"^[\w-]+=", "", index)}
    pip = {f"PIP_{name.replace('-', '_').upper()}": value for name, value in pip_settings.items()}
    uv = {name: value for name, value in variables.items() if name in UV_REACH}
    for name, value in pip_settings.items():
        if variable := REACH[name]:
            uv[variable] = ",".join(value.split()) if name == "find-links" else value
    if "cert" in pip_settings and Path(pip_settings["cert"]).is_dir():
        uv["SSL_CERT_DIR"] = uv.pop("SSL_CERT_FILE", "")
    if "proxy" in pip_settings:
        uv |= {"HTTP_PROXY": pip_settings["proxy"], "HTTPS_PROXY": pip_settings["proxy"]}
    bundle = variables.get("REQUESTS_CA_BUNDLE") or variables.get("CURL_CA_BUNDLE")
    if bundle and "SSL_CERT_FILE" not in {*uv, *base}:
        uv["SSL_CERT_FILE"] = bundle
    # hashes decide what is installed, so the index that has a release does not matter
    uv = {"UV_CACHE_DIR": str(cache), "UV_NO_CONFIG": "1", "UV_INDEX_STRATEGY": "unsafe-best-match"} | uv
    own = {"PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"}
    return base | own | pip, base | uv


def requirement(name: str) -> str:
    """Return the pinned release of one package, with its hashes, as requirements.txt has it."""
    match = re.search(rf"^{name}==(?:.*\\\n)*.*\n", PINNED.read_text(encoding="utf-8"), re.MULTILINE)
    assert match is not None, f"requirements.txt pins {name}"
    return match[0]


def run(command: list[str], variables: dict[str, str], follow: Callable[[Iterator[str]], object]) -> bool:
    """Run a command, append its output to the log, and let `follow` show its progress; return whether it succeeded."""
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(
            command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as process,
    ):

        def lines() -> Iterator[str]:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                yield line

        follow(lines())
    return process.returncode == 0


def show(counts: Iterator[tuple[int, str]], step: int) -> None:
    """Show a growing number and its sentence: one line that changes on a terminal, a line every `step` elsewhere."""
    printed = 0
    for number, sentence in counts:
        if sys.stdout.isatty():
            print(f"\r  {sentence:<76.76}", end="", flush=True)
        elif number >= printed + step:
            print(f"  {sentence}", flush=True)
            printed = number
    if sys.stdout.isatty():
        print(flush=True)


def follow_uv(lines: Iterator[str]) -> None:
    """Show how much uv has downloaded: it names the size of each larger package when it begins."""
    sizes: dict[str, float] = {}

    def downloaded() -> Iterator[tuple[int, str]]:
        megabytes = 0.0
        for line in lines:
            if match := re.match(r"Downloading (\S+) \(([\d.]+)([KMG])iB\)", line):
                sizes[match[1]] = float(match[2]) * {"K": 2**10, "M": 2**20, "G": 2**30}[match[3]] / 1e6
            elif match := re.match(r" Downloaded (\S+)", line):
                megabytes += sizes.get(match[1], 0)
                yield int(megabytes), f"{megabytes:,.0f} MB downloaded"
            elif match := re.match(r"Prepared (\d+) packages", line):
                yield 10**6, f"unpacking {match[1]} packages ..."

    show(downloaded(), 500)


def follow_pip(lines: Iterator[str]) -> None:
    """Show how many packages pip has fetched."""
    total = len(re.findall("^[^ #].*==", PINNED.read_text(encoding="utf-8"), re.MULTILINE))

    def collected() -> Iterator[tuple[int, str]]:
        number = 0
        for line in lines:
            if match := re.match(r"(?:Collecting|Processing) (\S+)", line):
                number += 1
                yield number, f"{number:3} of {total}  {match[1].rpartition('/')[2]}"
            elif line.startswith("Installing collected"):
                yield 10**6, "unpacking ..."

    show(collected(), 40)


def reason() -> str | None:
    """Return the sentence for an error that another installer would hit too, None for all others."""
    log = LOG.read_text(encoding="utf-8", errors="replace")
    if re.search("No space left|os error 28", log):
        return "The disk is full: make room for 8 GB, then run the same command again."
    if re.search("DO NOT MATCH THE HASHES|Hash mismatch", log, re.IGNORECASE):
        return (
            "A downloaded package does not match its hash in requirements.txt, and none was installed: look at "
            f"{LOG.relative_to(ROOT)}."
        )
    return None


def final_reason() -> str:
    """Return the sentence for an installation that failed."""
    log, where = LOG.read_text(encoding="utf-8", errors="replace"), LOG.relative_to(ROOT)
    if sentence := reason():
        return sentence
    if UNREACHABLE.search(log):
        return (
            "The packages cannot be fetched: is there a network? Run the same command again when there is "
            f"({where} has pip's words)."
        )
    error = next((line for line in log.splitlines()[::-1] if line.lower().startswith("error")), "it names no error")
    return f"pip could not install the packages: {error} ({where} has all of it)."


def install_report(pip: list[str], for_pip: dict[str, str], for_uv: dict[str, str]) -> bool:
    """Install requirements.txt and the project; return whether that succeeded."""
    own = LOG.with_name("uv.txt")
    own.write_text(requirement("uv"), encoding="utf-8")
    uv = [str(Path(sys.prefix) / "bin" / "uv"), "pip", "install", "--python", sys.executable]
    done = run([*pip, "--no-deps", *HASHED, "-r", str(own)], for_pip, list)
    done = done and run([*uv, *HASHED, "-r", str(PINNED)], for_uv, follow_uv)
    if not done and reason() is None:
        print("  uv cannot be used here: pip installs the packages, in some minutes ...", flush=True)
        LOG.write_text("", encoding="utf-8")
        done = run([*pip, "--progress-bar", "off", *HASHED, "-r", str(PINNED)], for_pip, follow_pip)
    # the project itself, which has no hash, with the setuptools that was installed and without asking for anything else
    editable = ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(ROOT)]
    return done and run([*pip, "--quiet", *editable], for_pip, list)


def main() -> None:
    """Install; end with one sentence if that fails."""
    pip = [sys.executable, "-I", "-m", "pip"]
    listing = subprocess.run([*pip, "config", "list"], capture_output=True, encoding="utf-8", check=False).stdout
    for_pip, for_uv = environments(settings(listing), dict(os.environ), Path(sys.prefix) / "cache")
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    pip.append("install")
    if len(sys.argv) == 1:
        done = install_report(pip, for_pip, for_uv)
    else:
        hashed = HASHED if "--hash" in Path(sys.argv[1]).read_text(encoding="utf-8") else ()
        done = run([*pip, *hashed, "-r", sys.argv[1]], for_pip, list)
    if not done:
        sys.exit(f"\n{final_reason()}")


if __name__ == "__main__":
    main()
