"""`make lint`: is the tree laid out as it should be? tests/test_lint.py runs the same checks one by one.

CHECKS maps a name to a function that returns a list of problems, each "file:line: what" in words.
"""
# SPDX-License-Identifier: MIT
import concurrent.futures
import os
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = os.cpu_count() or 1
# clang's analyzer: enough for a look in `make test`, and what it takes by default, for `make lint`.
ANALYZER_NODES, ANALYZER_NODES_ALL = 40_000, 225_000
# gcc's: how many states for each basic block it follows; for a look, and by default.
GCC_ANALYZER_STATES, GCC_ANALYZER_STATES_ALL = 2, 5
LONGEST_FUNCTION = 100  # lines, signature to closing brace

# Who may include whom (the floors of the house): folder or file -> what it may include beside its own folder. The
# longest key that fits decides; a leading "!" keeps out what follows it. Subfolders are meant unless kept out.
MAY_INCLUDE = {
    "hv/lib": [],
    "arch/x86": ["hv/lib", "boot/boot_info.h", "!arch/x86/vmx"],
    "arch/x86/vmx": ["arch/x86", "hv/lib"],
    "drivers": ["hv/lib", "arch/x86", "!arch/x86/vmx"],
    "hv/dev": ["hv/lib", "hv/bus.h", "hv/irq.h", "hv/timer.h", "hv/clock.h", "hv/guest_mem.h", "hv/pc_map.h"],
    "hv/load": ["hv/lib", "hv/guest_mem.h", "hv/pc_map.h", "arch/x86/cpu_state.h", "arch/x86/pte.h"],
    "hv": ["hv", "arch/x86", "drivers", "boot/boot_info.h", "!arch/x86/vmx"],  # VT-x behind arch/x86/virt.h
    "hv/main.c": ["arch", "drivers", "hv", "boot/boot_info.h"],
    "boot": [],
    "guests": ["hv/abi.h"],
    "tests": ["arch", "boot", "drivers", "guests", "hv"],
}
# The shell's pure parts; its commands may include what hv may.
MAY_INCLUDE.update({f"hv/shell/{part}.{suffix}": ["hv/lib", f"hv/shell/{part}.h"]
                    for part in ("line", "pcap", "words", "table") for suffix in "ch"})
# Headers in <>: a freestanding compiler's own for all; more for those who have a libc or gnu-efi under them.
FREESTANDING = {"stdint.h", "stddef.h", "stdbool.h", "stdarg.h", "stdalign.h", "stdatomic.h", "limits.h"}
MORE_SYSTEM_HEADERS = {"boot": {"efi.h", "efilib.h", "string.h", "cpuid.h"}, "guests": {"asm/ioctls.h", "linux/reboot.h", "sys/syscall.h"}, "tests": None}

SPDX = "SPDX-License-Identifier: MIT"
NEEDS_SPDX = (".c", ".h", ".asm", ".asl", ".ld", ".py", ".sh", ".mk")


def tree(*suffixes):
    """Files of the project (committed or about to be) whose names end so, relative to ROOT."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.splitlines()
    return sorted(name for name in set(listed) if name.endswith(suffixes) and (ROOT / name).is_file())


def read(name):
    return (ROOT / name).read_text(errors="replace")


def without_comments(text):
    """C or NASM text with its comments blanked; strings (inline assembly) and line numbers stay."""
    return re.sub(r"/\*.*?\*/|//[^\n]*|^\s*;[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S | re.M)


def make_variable(name):
    return shlex.split(subprocess.run(["make", "-s", f"print-{name}"], cwd=ROOT, capture_output=True, text=True,
                                      check=True).stdout)


def run_each(commands):
    """Runs (label, command) pairs on all processors; what failing ones said, in order."""
    def run(pair):
        done = subprocess.run(pair[1], cwd=ROOT, capture_output=True, text=True, errors="replace")
        return f"{pair[0]}: {(done.stdout + done.stderr).strip()}" if done.returncode else None

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        return [said for said in pool.map(run, commands) if said]


# --- includes ---

def covers(place, name):
    return name == place or name.startswith(place + "/")


def rule_for(name):
    fitting = [place for place in MAY_INCLUDE if covers(place, name)]
    return max(fitting, key=len) if fitting else None


def includes(name):
    """(line number, '"' or '<', header) of each include of a file."""
    for number, line in enumerate(without_comments(read(name)).splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
        if found:
            yield number, found[1], found[2]


def allowed(name, header):
    place = rule_for(name)
    own = place if (ROOT / place).is_dir() else str(pathlib.PurePath(place).parent)
    if rule_for(header) == own:
        return True
    kept_out = [rule[1:] for rule in MAY_INCLUDE[place] if rule.startswith("!")]
    if any(covers(rule, header) for rule in kept_out):
        return False
    return any(covers(rule, header) for rule in MAY_INCLUDE[place])


def check_includes():
    problems = []
    generated = ROOT / "build" / "gen"
    for name in tree(".c", ".h"):
        folder = name.split("/")[0]
        if rule_for(name) is None:
            problems.append(f"{name}:1: no rule in tests/lint.py says what this folder may include")
            continue
        for number, kind, header in includes(name):
            if kind == "<":
                more = MORE_SYSTEM_HEADERS.get(folder, set())
                if header not in FREESTANDING and more is not None and header not in more:
                    problems.append(f"{name}:{number}: <{header}> is not there for {folder}/")
            elif not (ROOT / header).is_file():
                if not (generated / header).is_file() and not list((ROOT / "build").glob(f"tests/*/{header}")):
                    problems.append(f'{name}:{number}: "{header}" is not a path from the project\'s root')
            elif not allowed(name, header):
                problems.append(f"{name}:{number}: {rule_for(name)} may not include {header}")
    return problems


def check_circles():
    graph = {name: [header for _, kind, header in includes(name) if kind == '"'] for name in tree(".h")}
    state, problems = {}, []

    def visit(name, path):
        if state.get(name) == "done" or name not in graph:
            return
        if name in path:
            problems.append(f"{name}:1: includes itself: {' -> '.join(path[path.index(name):] + [name])}")
            return
        for header in graph[name]:
            visit(header, path + [name])
        state[name] = "done"

    for name in graph:
        visit(name, [])
    return problems


def check_vmread():
    """VMREAD and VMWRITE, as instructions or through vmcs_read/vmcs_write, under arch/x86/vmx only."""
    problems = []
    for name in tree(".c", ".h", ".asm"):
        if covers("arch/x86/vmx", name) or covers("tests", name):
            continue
        for number, line in enumerate(without_comments(read(name)).splitlines(), 1):
            if re.search(r'"[^"]*\bvm(read|write)\b|^\s*vm(read|write)\b|\bvmcs_(read|write)\w*\s*\(', line):
                problems.append(f"{name}:{number}: VMREAD/VMWRITE outside arch/x86/vmx: {line.strip()}")
    return problems


def flags_for(name):
    """The flags with which a file is compiled, in clang's and gcc's common language."""
    if covers("boot", name) and name != "boot/boot_info.h" or covers("tests/boot", name):
        return make_variable_cached("EFI_CFLAGS") + ["-Ibuild/tests/acpi"]
    if covers("tests", name):
        return make_variable_cached("HOST_CFLAGS")
    if covers("guests/linux", name):
        return ["-std=c17", "-O2", "-ffreestanding", "-Wall", "-Wextra"]
    if covers("guests", name):
        return make_variable_cached("GUEST_CFLAGS") + ["-m64", '-DGUEST_NAME="lint"']
    return make_variable_cached("CORE_CFLAGS")


FLAGS = {}


def make_variable_cached(name):
    if name not in FLAGS:
        FLAGS[name] = make_variable(name)
    return FLAGS[name]


def check_headers():
    """Every header compiles on its own, as the core and on a host (hv/lib/string.h is libc's there)."""
    commands = []
    for name in tree(".h"):
        lone = ["-x", "c", "-fsyntax-only", "-Wno-unused", "-include", name, "/dev/null"]
        commands.append((f"{name}:1 alone", ["gcc", *flags_for(name), *lone]))
        if name.split("/")[0] in ("hv", "arch", "drivers"):
            commands.append((f"{name}:1 alone on a host", ["gcc", *make_variable_cached("HOST_CFLAGS"), *lone]))
    return run_each(commands)


# --- files and functions ---

def check_spdx():
    problems = []
    for name in tree(*NEEDS_SPDX) + ["Makefile", ".ci/run"]:
        head = read(name).splitlines()[:20]
        if not any(SPDX in line for line in head):
            problems.append(f"{name}:1: no line '{SPDX}' at its head")
        if name.endswith((".c", ".h")) and not (head and head[0].startswith("/*")):
            problems.append(f"{name}:1: does not open by saying what it is for")
    return problems


def functions():
    """(file, line, length) of every C function; clang-format guarantees braces in the first column."""
    for name in tree(".c", ".h"):
        lines = read(name).splitlines()
        for end, line in enumerate(lines):
            if line != "}":
                continue
            brace = next((i for i in range(end, -1, -1) if lines[i] == "{"), None)
            if brace is None or any(lines[i].startswith("}") for i in range(brace + 1, end)):
                continue  # a structure or an initialiser
            start = brace
            while start > 0 and lines[start - 1] and not lines[start - 1].startswith(("}", "#", "/*", " */")):
                start -= 1
            yield name, start + 1, end - start + 1


def check_functions():
    return [f"{name}:{line}: function of {length} lines, at most {LONGEST_FUNCTION} are allowed"
            for name, line, length in functions() if length > LONGEST_FUNCTION]


def function_report():
    found = sorted(functions(), key=lambda f: f[2])
    lengths = [length for _, _, length in found]
    if not lengths:
        return "no functions"
    name, line, longest = found[-1]
    return (f"{len(lengths)} functions, lines: median {int(statistics.median(lengths))}, "
            f"95th percentile {lengths[len(lengths) * 95 // 100]}, longest {longest} ({name}:{line})")


# --- tools ---

def check_format():
    said = run_each([(name, ["clang-format", "--dry-run", "-Werror", name]) for name in tree(".c", ".h")])
    return [f"{problem.split(':')[0]}:1: clang-format -i would change it" for problem in said]


def check_cppcheck():
    files = [name for name in tree(".c") if not covers("tests", name)]
    if not files:
        return []
    # cppcheck does not see that ASSERT ends the machine (the ...Cond ones), nor that linker symbols share an object. It is
    # given no system's headers, and no names that only those define.
    noise = ["missingInclude", "unknownMacro", "arrayIndexOutOfBoundsCond", "integerOverflowCond", "signConversionCond",
             "comparePointers", "subtractPointers"]
    command = ["cppcheck", "--quiet", "--error-exitcode=1", "--inline-suppr", "--std=c11", "--language=c", "-I.",
               "-Ibuild/gen", f"-j{JOBS}", "--enable=warning,performance,portability",
               *(f"--suppress={name}" for name in noise), "--template={file}:{line}: {severity}: {message} [{id}]", *files]
    return run_each([("cppcheck", command)])


def check_clang_tidy(nodes=ANALYZER_NODES):
    """`nodes`: how many states of one function its static analyzer follows; most of the time that all of this takes."""
    # -mno-red-zone and friends are fine with clang; warnings are gcc's job in the build.
    keep = re.compile(r"-(std|D|I|isystem|O|f(freestanding|short-wchar|pic)|mgeneral)")
    analyzer = ["-Xclang", "-analyzer-config", "-Xclang", f"max-nodes={nodes}"]
    commands = []
    for name in (name for name in tree(".c") if not covers("tests", name)):
        flags, words = [], iter(flags_for(name))
        for word in words:
            if word == "-isystem":
                flags += [word, next(words)]
            elif keep.match(word):
                flags.append(word)
        commands.append((name, ["clang-tidy", "--quiet", name, "--", *flags, *analyzer]))
    return run_each(commands)


def check_gcc_analyzer(states=GCC_ANALYZER_STATES):
    """gcc's own static analyzer over loader and core, with the flags of each but for link-time optimisation, which would
    leave the code, and with it the analysis, to the linker. The build's -Werror makes its warnings problems."""
    effort = ["-fanalyzer", "--param", f"analyzer-bb-explosion-factor={states}"]
    commands = []
    for name in (*make_variable("CORE_C"), *(name for name in tree(".c") if covers("boot", name))):
        flags = [word for word in flags_for(name) if not word.startswith("-flto")]
        commands.append((name, ["gcc", *flags, *effort, "-S", "-o", "/dev/null", name]))
    return run_each(commands)


CHECKS = {
    "includes": check_includes,
    "circles": check_circles,
    "vmread": check_vmread,
    "spdx": check_spdx,
    "functions": check_functions,
    "headers": check_headers,
    "format": check_format,
    "cppcheck": check_cppcheck,
    "clang-tidy": check_clang_tidy,
    "gcc-analyzer": check_gcc_analyzer,
}
# The same with more effort, for `make lint`.
THOROUGH = {
    "clang-tidy": lambda: check_clang_tidy(ANALYZER_NODES_ALL),
    "gcc-analyzer": lambda: check_gcc_analyzer(GCC_ANALYZER_STATES_ALL),
}


def main():
    """Runs the named checks, or all; the exit status says whether the tree is clean."""
    failed = 0
    for name in sys.argv[1:] or CHECKS:
        start = time.monotonic()
        problems = THOROUGH.get(name, CHECKS[name])()
        print(f"lint: {name}: {f'{len(problems)} problem(s)' if problems else 'clean'}, "
              f"{time.monotonic() - start:.1f} s", flush=True)
        for problem in problems:
            print(f"  {problem}")
        failed += len(problems)
    print(f"lint: {function_report()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
