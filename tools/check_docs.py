#!/usr/bin/env python3
"""Do the pages say what the program and the sources say? check_docs.py SOURCE_ROOT PROGRAM

Checked: links, names of files, commands and options (both ways), commands that can be pasted, variables of the environment (both ways), and numbers
that stand as a constant in the sources. Prints what is wrong; exit code 1 then. FACTS is the list of numbers: whoever
writes a new one into a page, and can name its constant, adds a line."""
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

root, program = Path(sys.argv[1]), sys.argv[2]
wrong = []

# page, what stands in it (group 1 is the number, thousands by commas), the constant, by what the constant is divided
FACTS = [
    ("docs/store.md", r"`gone` keeps the last ([\d,]+) deletions", "GONE_ROWS", 1),
    ("docs/store.md", r"more than ([\d,]+) rows would answer", "MAX_CHANGES", 1),
    ("docs/store.md", r"when they are (\d+) minutes old", "ORPHAN_AGE_MS", 60000),
    ("docs/workers.md", r"by force after (\d+) s", "GIVE_UP_US", 1000000),
    ("docs/workers.md", r"server waits (\d+) s and then kills", "STOP_WAIT_US", 1000000),
    ("docs/workers.md", r"processor time\s+\((\d+) s \+", "CPU_S_EVERY_JOB", 1),
    ("docs/workers.md", r"\+ (\d+) s a second of output", "CPU_S_A_SECOND", 1),
    ("docs/workers.md", r"growing to (\d+) s if it dies young", "LONGEST_PAUSE_US", 1000000),
    ("docs/http.md", r"looks every\s+(three) seconds", "LOOK_EVERY_MS", 1000),
    ("docs/http.md", r"([A-Z]\w+) wrong tokens within a minute", "MAX_WRONG", 1),
    ("docs/easy.md", r"chooses, at most (\d+) bytes", "EASY_CODE_BYTES", 1),
    ("docs/notifications.md", r"An attempt takes at most (\d+) s", "TOTAL_SECONDS", 1),
    ("docs/notifications.md", r"\((\d+) s to connect\)", "CONNECT_SECONDS", 1),
    ("docs/notifications.md", r"at most (\w+) failed videos", "MAX_FAILURES", 1),
    ("docs/web.md", r"heartbeats come every (\d+) s", "HEARTBEAT_US", 1000000),
    ("docs/track-file.md", r"## Layout, version (\d+)", "TRACK_VERSION", 1),
    ("docs/track-file.md", r"over all frames \((\d+) at most\)", "MAX_LOOKS", 1),
    ("docs/design.md", r"up to (four) \(docs/engine.md", "ENGINE_MAX_LANES", 1),
    ("docs/engine.md", r"up to (four) sessions of one thread", "ENGINE_MAX_LANES", 1),
    ("docs/security.md", r"([\d,]+) videos a batch", "MAX_JOBS", 1),
    ("docs/security.md", r"([\d,]+) results a request", "MAX_CHOSEN", 1),
    ("docs/security.md", r"([A-Z]\w+) wrong\s+tokens a minute", "MAX_WRONG", 1),
    ("docs/security.md", r"(\d+)\s+unfinished uploads a client", "UPLOADS", 1),
    ("docs/security.md", r"(\d+) KiB of JSON for an asset", "MAX_JSON", 1024),
    ("docs/security.md", r"http` and `https`, (\w+) redirects", "MAX_REDIRECTS", 1),
    ("docs/security.md", r"a header of (\d+) MB at most", "MAX_HEADER", 1 << 20),
]
WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10}


def read(name):
    return (root / name).read_text(encoding="utf-8")


pages = ["README.md", "README.en.md", "CHANGELOG.md", "CONTRIBUTING.md", "models/README.md", "training/README.md", "bench/README.md"]
pages += sorted(f"docs/{p.name}" for p in (root / "docs").glob("*.md"))
sources = sorted((root / "src").rglob("*.[ch]"))
texts = {p: p.read_text(encoding="utf-8") for p in sources}


def number(text):
    text = text.replace(",", "")
    return WORDS[text.lower()] if text.lower() in WORDS else int(text)


def constants(name):
    """The values of a #define or enum constant of this name, wherever in src it stands."""
    found = set()
    for text in texts.values():
        for value in re.findall(rf"^#define {name}\s+(.+?)\s*(?://.*)?$|\b{name} = ([^,}}]+)", text, re.MULTILINE):
            value = re.sub(r"(?<=\d)(LL|L|u|U)\b", "", value[0] or value[1]).strip('"')
            for _ in range(3):  # constants made of others
                value = re.sub(r"\b[A-Z][A-Z_]{2,}\b", lambda m: next((str(v) for v in constants(m[0])), "0"), value)
            if re.fullmatch(r"[\d\s()*+<]+", value):
                found.add(eval(value))
    return found


def check_links(page, text):
    folder = (root / page).parent
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target) and not (folder / target).exists():
            wrong.append(f"{page}: the link to '{target}' leads nowhere")


def check_files(page, text):
    """`src/…`, `docs/…` and the like must be there; a bare name.c or .h somewhere below src, tests, tools."""
    for name in re.findall(r"\b((?:src|docs|tests|tools|training|models|bench|po|web/src)/[\w./-]*\w\.[a-z]\w*)\b", text):
        made = name.startswith(("models/face/", "web/dist/", "build"))
        if not made and "*" not in name and not (root / name).exists():
            wrong.append(f"{page}: there is no {name}")
    for name in re.findall(r"`(\w+\.[ch])`", text):
        if not any(p.name == name for p in sources) and not any((root / "tests").rglob(name)):
            wrong.append(f"{page}: there is no file {name}")


def check_numbers():
    for page, pattern, constant, divisor in FACTS:
        match = re.search(pattern, read(page))
        values = constants(constant)
        if not match:
            wrong.append(f"{page}: nothing says '{pattern}' any more (tools/check_docs.py)")
        elif not values:
            wrong.append(f"{page}: there is no constant {constant} any more (tools/check_docs.py)")
        elif match.groups() and number(match[1]) * divisor not in values:
            wrong.append(f"{page}: '{' '.join(match[0].split())}', but {constant} is {sorted(values)}")


def run(*args):
    environment = {"LC_ALL": "C.UTF-8", "LANGUAGE": "en", "PATH": os.environ["PATH"]}
    return subprocess.run([program, *args], capture_output=True, text=True, env=environment, check=False).stdout


def options_of(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]\b", text))


COMMON = {"--help", "--usage", "--lang", "--verbose", "--quiet", "--version", "--progress"}


def check_commands():
    commands = re.findall(r"^  (\w+) +\S", run("--help").split("For example")[0], re.MULTILINE)
    cli = read("docs/cli.md")
    table = cli[:cli.index("## Exit codes")]
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", cli, re.MULTILINE | re.DOTALL))
    for command in commands:
        if not re.search(rf"^\| `{command}\b", table, re.MULTILINE):
            wrong.append(f"docs/cli.md: the table lacks the command {command}")
    for command in re.findall(r"^\| `(\w+)", table, re.MULTILINE):
        if command not in commands:
            wrong.append(f"docs/cli.md: there is no command {command}")
    helps = {c: run(c, "--help") for c in commands}
    helps["voice"] += "".join(run("voice", c, "--help") for c in ("list", "add", "test", "remove", "say"))
    helps["model"] += "".join(run("model", c, "--help") for c in ("list", "info", "convert", "quantize", "run"))
    everything = options_of(" ".join(helps.values())) | COMMON
    for command in commands:
        here = options_of(helps[command]) - COMMON
        shared = options_of(sections.get("generate", "")) if command in ("batch", "demo", "eval", "preprocess", "bench") else set()
        if command not in ("worker", "model"):  # worker: internal; model: told by example
            for option in sorted(here - options_of(sections.get(command, "")) - shared):
                wrong.append(f"docs/cli.md: section {command} does not tell {option}")
        for option in sorted(options_of(sections.get(command, "")) - everything):
            wrong.append(f"docs/cli.md: section {command} tells {option}, which no command has")
    for page in ("README.md", "README.en.md", "docs/workers.md", "docs/web.md", "docs/performance.md", "docs/security.md", "docs/easy.md"):
        text = read(page)
        for line in re.findall(r"(?:\./start\.sh|koubo) ([a-z]+ --?[^`\n|#]*)", text):
            words = line.split()
            if words[0] in helps:
                for option in sorted(options_of(line) - options_of(helps[words[0]]) - COMMON):
                    wrong.append(f"{page}: koubo {words[0]} has no {option}")
        for command in re.findall(r"^\./start\.sh ([a-z]+)", text, re.MULTILINE):
            if command not in commands:
                wrong.append(f"{page}: there is no command {command}")
    table = re.findall(r"^\| `(--[^|]+)\|", read("README.md") + read("README.en.md"), re.MULTILINE)
    for option in sorted(options_of(" ".join(table)) - options_of(helps["generate"]) - COMMON):
        wrong.append(f"README: koubo generate has no {option}")


def blocks(text):
    """The lines of code blocks, fenced or indented by four, continued lines joined."""
    fenced, joined = False, ""
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or (line.startswith("    ") and not line.lstrip().startswith(("*", "-"))):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            yield joined
            joined = ""


def pasted_arguments(line):
    """What the shell gives to koubo, if the line calls it, up to the first pipe, redirection or next command."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words = list(lexer)
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    if words and re.fullmatch(r"(.*/)?koubo|\./start\.sh", words[0]):
        end = next((i for i, word in enumerate(words) if re.fullmatch(r"[|&;<>]+", word)), len(words))
        return words[1:end]
    return None


def check_pasted():
    """Commands in the pages' code blocks can be pasted: no prompt, nothing left out, and koubo takes their options."""
    seen = {}
    for page in pages:
        for line in blocks(read(page)):
            if "─" in line:  # a drawing
                continue
            if re.match(r"[$%#>] ?(\./start\.sh|(\S*/)?koubo|sudo|npm|apt|curl|meson|ninja)\b", line):
                wrong.append(f"{page}: a prompt before a command: {line}")
                continue
            try:
                args = pasted_arguments(line)
            except ValueError:  # no command: a quotation mark that nothing closes
                continue
            if args is None:
                continue
            if re.search(r"…|\.\.\.", " ".join(args)):
                wrong.append(f"{page}: cannot be pasted: {line}")
                continue
            called = tuple(args)
            if called and called not in seen:  # with --help it looks at the options before it, and does nothing
                help_ = () if called[0].startswith("-") else ("--help",)
                at = called.index("--") if "--" in called else len(called)
                seen[called] = refused((*called[:at], *help_, *called[at:]))
            if called and seen[called]:
                wrong.append(f"{page}: koubo refuses: {line}: {seen[called]}")


def check_units():
    """What systemd and Docker start, koubo takes."""
    for path in sorted((root / "tools/cluster").iterdir()):
        lines = re.findall(r"^(?:ExecStart=|\s+command: )(.*\bkoubo .*)$", path.read_text(encoding="utf-8"), re.MULTILINE) if path.is_file() else []
        for line in lines:
            args = pasted_arguments(line)
            trouble = refused((*args, "--help"))
            if trouble:
                wrong.append(f"{path.relative_to(root)}: koubo refuses: {line}: {trouble}")


def refused(args):
    environment = {"LC_ALL": "C.UTF-8", "LANGUAGE": "en", "PATH": os.environ["PATH"]}
    result = subprocess.run([program, *args], capture_output=True, text=True, env=environment, check=False)
    return result.stderr.strip() or "an error" if result.returncode != 0 else ""


def check_default_model():
    name = re.search(r'define MODEL_BUNDLED\s+"([\w-]+)"', " ".join(texts.values()))[1]
    for page, pattern in (("docs/cli.md", r"`--model FILE` \| `([\w-]+)`"), ("docs/design.md", r"`models/([\w-]+)\.safetensors`, the default"),
                          ("README.md", r"默认的 `([\w-]+)`"), ("README.en.md", r"the default `([\w-]+)`")):
        match = re.search(pattern, read(page))
        if not match or match[1] != name:
            wrong.append(f"{page}: the model that is used if nothing is said is {name}, not {match and match[1]}")


def check_environment():
    asked = set(re.findall(r'(?:getenv\(|secret_settle\([^,]*, )"(KOUBO_\w+)"', " ".join(texts.values())))
    cli = read("docs/cli.md")
    told = set(re.findall(r"^\| `(KOUBO_\w+)`", cli[cli.index("## Environment"):], re.MULTILINE))
    for name in sorted(asked - told):
        wrong.append(f"docs/cli.md: Environment does not tell {name}")
    for name in sorted(told - asked):
        wrong.append(f"docs/cli.md: nothing asks for {name}")


def check_readmes():
    """Both have the same commands, pictures and figures."""
    zh, en = read("README.md"), read("README.en.md")

    def figures(text):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        return [n for line in rows for n in re.findall(r"\d+\.\d+", line)]

    def called(text):
        return re.findall(r"^\./start\.sh ?([a-z]*)", text, re.MULTILINE)

    if called(zh) != called(en):
        wrong.append(f"README.md and README.en.md show other commands: {called(zh)}, {called(en)}")
    if figures(zh) != figures(en):
        wrong.append("README.md and README.en.md have other figures in their tables")


for name in pages:
    check_links(name, read(name))
    check_files(name, read(name))
check_numbers()
check_commands()
check_pasted()
check_units()
check_environment()
check_default_model()
check_readmes()
for line in wrong:
    print(line)
sys.exit(1 if wrong else 0)
