"""What the files of report.py share: the page under way, and how numbers are written."""


class Page:
    def __init__(self):
        self.lines, self.goals = [], []
        self.part = ""  # the one under way

    def add(self, *lines):
        self.lines += lines

    def table(self, head, rows):
        right = ["---"] + ["---:"] * (len(head) - 1)
        self.add("", *("| " + " | ".join(map(str, row)) + " |" for row in [head, right, *rows]), "")

    def goal(self, what, goal, got, met):
        """One line of the first table; `got` is text."""
        self.goals.append((what, goal, got, "yes" if met else "**no**", self.part))


def n(value, digits=0):
    return "–" if value is None else f"{value:,.{digits}f}"


def ms(value):
    return (
        n(
            value,
            (
                2
                if value is not None and value < 10
                else 1 if value is not None and value < 100 else 0
            ),
        )
        + " ms"
    )


def seconds(value):
    return n(value, 3 if value < 1 else 2 if value < 100 else 0) + " s"


def mib(memory):
    return f"{memory[0]:,.0f} MiB (peak {memory[1]:,.0f})"
