"""What `make bench` makes of its rows: the table as text and as Markdown, the picture, and the one figure beside KVM.

A row is {"id", "unit", and where measured "vireo", "kvm", "kvm_default", "native", "must"}. Pure but for draw()."""
# SPDX-License-Identifier: MIT
import math
import subprocess

# The operations that exit under KVM. Vireo does some of them without an exit; the mean of the others is given, too.
EXITING = ["cpuid", "vmcall", "rdmsr", "wrmsr", "cr0", "cr4-smep", "wbinvd", "pio-in", "pio-doorbell", "pio-device",
           "mmio-ioapic", "mmio-doorbell", "mmio-device", "ept-4k", "x2apic-eoi", "self-ipi", "ipi-running", "ipi-halted"]
NO_EXIT_UNDER_VIREO = ["wrmsr", "cr4-smep", "mmio-ioapic", "x2apic-eoi", "self-ipi"]
MEAN_MUST = 0.12
BOOTS = {"linux-boot": "", "linux-boot-smp": " on four processors"}

COLUMNS = {"vireo": "Vireo", "kvm": "KVM", "kvm_default": "KVM, default", "native": "native", "must": "must"}
LONGEST_BAR = 100_000  # ticks: what takes longer is no single exit, and would press the others together


def ratio(row):
    """Of Vireo's figure to KVM's; None where one is missing. No operation counts as less than one tick."""
    return max(row["vireo"], 1) / max(row["kvm"], 1) if "vireo" in row and "kvm" in row else None


def geometric_mean(rows, names):
    """Of Vireo / KVM over the rows of these names that have both: (mean, how many), (None, 0) where none has."""
    ratios = [ratio(row) for row in rows if row["id"] in names and ratio(row) is not None]
    return (math.exp(sum(map(math.log, ratios)) / len(ratios)), len(ratios)) if ratios else (None, 0)


def verdict(row):
    if "must" not in row or "vireo" not in row:
        return ""
    return "kept" if row["vireo"] <= row["must"] else "MISSED"


def summary(rows):
    """Sentences."""
    said = []
    mean, count = geometric_mean(rows, EXITING)
    if mean is not None:
        said.append(f"Vireo / KVM, geometric mean of {count} operations that exit under KVM: {mean:.3f} (must: {MEAN_MUST}, "
                    f"{'kept' if mean <= MEAN_MUST else 'MISSED'})")
    mean, count = geometric_mean(rows, set(EXITING) - set(NO_EXIT_UNDER_VIREO))
    if mean is not None:
        said.append(f"the same of the {count} that exit under Vireo, too: {mean:.3f}")
    for row in rows:
        if row["id"] in BOOTS and "vireo" in row and "native" in row:
            said.append(f"Linux{BOOTS[row['id']]} under Vireo takes {row['vireo'] / row['native']:.3f} of its native time to init")
    return said


def cells(row):
    """The row as words: what was not measured is "-"."""
    quotient = ratio(row)
    return [row["id"], row["unit"], *(str(row.get(column, "-")) for column in COLUMNS),
            "-" if quotient is None else f"{quotient:.2g}", verdict(row)]


HEAD = ["id", "unit", *COLUMNS.values(), "Vireo/KVM", ""]


def text(rows):
    lines = [f"{words[0]:24} {words[1]:6}" + "".join(f"{word:>14}" for word in words[2:-1]) + f"  {words[-1]}"
             for words in [HEAD, *map(cells, rows)]]
    return "\n".join([line.rstrip() for line in lines] + summary(rows)) + "\n"


def markdown(rows):
    ruler = ["---", "---"] + ["---:"] * (len(HEAD) - 3) + ["---"]
    table = [f"| {' | '.join(words)} |" for words in [HEAD, ruler, *map(cells, rows)]]
    return "\n".join([*table, "", *(f"- {sentence}" for sentence in summary(rows))]) + "\n"


def bars(rows):
    """Rows for the picture: operations in ticks that both have, the dearest under KVM first."""
    both = [row for row in rows if row["unit"] == "ticks" and ratio(row) is not None and row["kvm"] <= LONGEST_BAR
            and not row["id"].startswith("no-exit-")]
    return sorted(both, key=lambda row: -row["kvm"])


def gnuplot(rows, path):
    """The commands that draw the picture. A bar is a box from (1, y) to (ticks, y), and its figure behind it."""
    shown = bars(rows)
    data = [f"{len(shown) - index} {row['id']} {row['vireo']} {row['kvm']}" for index, row in enumerate(shown)]

    def bar(column, shift, title, colour):
        place, length = f"($1{shift:+})", f"(${column} > 1 ? ${column} : 1)"
        return (f"$rows using {length}:{place}:(1):{length}:($1{shift:+}-0.19):($1{shift:+}+0.19) with boxxyerror "
                f"fillcolor rgb '{colour}' title '{title}', "
                f"$rows using {length}:{place}:(sprintf(' %d', ${column})) with labels left font ',10' notitle")

    return "\n".join([
        f"set terminal svg size 900,{120 + 34 * len(shown)} font 'sans-serif,12' noenhanced background 'white'",
        f"set output '{path}'", "$rows << END", *data, "END",
        "set title 'Ticks (instructions) of one operation in the guest, logarithmic: less is better'",
        "set logscale x", f"set xrange [1:{3 * max((row['kvm'] for row in shown), default=1)}]", f"set yrange [0.3:{len(shown) + 0.7}]", "set grid xtics",
        "set style fill solid noborder", "set key outside top center horizontal", "set tics nomirror out",
        "set ytics ()",
        "set for [i=1:|$rows|] ytics add (word($rows[i], 2) word($rows[i], 1) + 0)",
        "plot " + ", ".join([bar(4, 0.2, "KVM, mitigations=off", "#9aa5b1"), bar(3, -0.2, "Vireo", "#1f77b4")]), ""])


def draw(rows, path):
    subprocess.run(["gnuplot"], input=gnuplot(rows, path), text=True, check=True)
