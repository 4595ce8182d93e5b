"""An SVG drawing: texts, lines, dots and bars on white, by x and y in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from headstart.report import figures, formatting

INK, MUTED, RULE, HIT, MISS = "#1c2024", "#5a626b", "#dcddd8", "#2670a0", "#ce5c24"


class Drawing:
    """A drawing in progress; `svg` returns the file's text."""

    def __init__(self, title: str) -> None:
        """Start a drawing; screen readers announce the title."""
        self._title = title
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        anchor: str = "start",
        colour: str = INK,
        turned: bool = False,
    ) -> None:
        """Write a text at its baseline; ``turned`` rotates it to rise to the right."""
        rotation = f' transform="rotate(-60 {x:.1f} {y:.1f})"' if turned else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{rotation}>'
            f"{escape(str(formatting.printable(text)), quote=False)}</text>"
        )

    def line(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str = MUTED,
        width: float = 1,
        dashed: bool = False,
    ) -> None:
        """Draw a straight line."""
        dashes = ' stroke-dasharray="3 4"' if dashed else ""
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
            f' stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 4.5) -> None:
        """Draw a filled circle."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>')

    def ring(self, x: float, y: float, colour: str, radius: float) -> None:
        """Draw an empty circle."""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="none" stroke="{colour}"/>'
        )

    def bar(
        self, x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0
    ) -> None:
        """Draw a filled rectangle by its upper left corner."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' fill="{colour}" fill-opacity="{opacity:.3f}"/>'
        )

    def band(self, edges: Sequence[tuple[float, float, float]], colour: str) -> None:
        """Shade the area between two lines, by ``(x, lower y, upper y)`` from left to right."""
        if edges:
            corners = [(x, low) for x, low, _ in edges] + [(x, up) for x, _, up in edges[::-1]]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
            self._parts.append(f'<polygon points="{path}" fill="{colour}" fill-opacity="0.15"/>')

    def svg(self, width: float, height: float) -> str:
        """Return the drawing as the text of a file."""
        body = "\n".join(self._parts)
        title = escape(str(formatting.printable(self._title)), quote=False).replace('"', "&quot;")
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
            f' width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{title}"'
            ' font-family="system-ui, sans-serif" font-size="13">\n'
            f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
        )


@dataclass(frozen=True)
class Frame:
    """The position of a chart of accuracies in its drawing, in pixels; accuracy runs upwards."""

    left: float
    top: float
    width: float
    height: float
    axis: figures.Axis

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.top + self.height

    @property
    def right(self) -> float:
        """The right edge."""
        return self.left + self.width

    def x(self, share: float) -> float:
        """Return the position of a share of the width."""
        return self.left + self.width * share

    def y(self, accuracy: float) -> float:
        """Return the position of an accuracy, clipped to the axis."""
        share = (accuracy - self.axis.low) / (self.axis.high - self.axis.low)
        return self.top + self.height * (1 - min(max(share, 0.0), 1.0))

    def grid(self, drawing: Drawing) -> None:
        """Draw a line and a percentage at each tick of the axis."""
        for tick in self.axis.ticks:
            height = self.y(tick)
            drawing.line((self.left, height), (self.right, height), RULE)
            drawing.text(self.left - 8, height + 4, f"{100 * tick:.0f} %", "end", MUTED)


def shortened(label: str, longest: int) -> str:
    """Cut a label to at most ``longest`` characters."""
    return label if len(label) <= longest else f"{label[: longest - 1]}…"
