"""Recall against speed as SVG: small, without fonts of its own, readable on light and dark pages."""

import math
from html import escape

WIDTH, HEIGHT = 860, 460
LEFT, TOP, RIGHT, BOTTOM = 64, 34, 628, 408  # of the plot; names stand to its right
RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
FIRST, LAST = 0.8, 0.9993
# Told apart on white and on near-black, also by people who do not see red and green alike: with dashes beside.
COLOURS = ["#d55e00", "#0090d0", "#00997a", "#b8860b", "#c060a0", "#5b6ee1", "#7f7f7f", "#a0522d"]
DASHES = ["", "6 3", "2 3"]
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #444 }
  .title { font-size: 14px; font-weight: 600 }
  .grid { stroke: #8886; stroke-width: 1 }
  .curve { fill: none; stroke-width: 1.6 }
  .own { stroke-width: 3.2 }
  @media (prefers-color-scheme: dark) { text { fill: #ccc } }
"""


def across(recall):
    """Recall is spread by how little is missed."""
    low, high = -math.log(1 - FIRST), -math.log(1 - LAST)
    at = -math.log(1 - min(max(recall, FIRST), LAST))
    return LEFT + (RIGHT - LEFT) * (at - low) / (high - low)


def decades(values):
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def visible(points):
    """(recall, speed) of what lies in the plot, and only what is worth its recall."""
    kept, fastest = [], 0
    for recall, qps in sorted(points, reverse=True):
        if qps > fastest and FIRST <= recall:
            kept.append((recall, qps))
            fastest = qps
    return kept[::-1]


def thousand(value):
    return f"{value // 1000:,}k" if value >= 1000 else str(value)


def plot(title, curves):
    """curves: [(name, [(recall, qps)])], ours first. Returns the text of the file, or None when there is nothing to see."""
    curves = [(name, visible(points)) for name, points in curves]
    curves = [(name, points) for name, points in curves if points]
    if not curves:
        return None
    low, high = decades([q for _, points in curves for _, q in points])

    def up(qps):
        return BOTTOM - (BOTTOM - TOP) * (math.log10(qps) - low) / (high - low)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
    ]
    for recall in RECALLS:
        x = across(recall)
        out.append(f'<path class="grid" d="M{x:.1f} {TOP}V{BOTTOM}"/>')
        out.append(f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{recall:g}</text>')
    for power in range(low, high):
        for digit in (1, 2, 5):
            qps = digit * 10**power
            out.append(f'<path class="grid" d="M{LEFT} {up(qps):.1f}H{RIGHT}"/>')
            out.append(f'<text x="{LEFT - 8}" y="{up(qps) + 4:.1f}" text-anchor="end">{thousand(qps)}</text>')
    middle = (LEFT + RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">recall@10, by distance; up: searches a second, one thread</text>')
    for i, (name, points) in enumerate(curves):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        look = f'class="curve{" own" if i == 0 else ""}" stroke="{colour}"' + (f' stroke-dasharray="{dash}"' if dash else "")
        path = "L".join(f"{across(r):.1f} {up(q):.1f}" for r, q in points)
        dots = "".join(f'<circle cx="{across(r):.1f}" cy="{up(q):.1f}" r="{3 if i == 0 else 2}" fill="{colour}"/>' for r, q in points)
        y = TOP + 8 + 20 * i
        out.append(f'<path {look} d="M{path}"/>{dots}')
        out.append(f'<path {look} d="M{RIGHT + 14} {y - 4}h22"/><text x="{RIGHT + 42}" y="{y}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
