"""SVG, as far as our pictures need it: parts with titles, rectangles and words.

A part's title is what browsers show where the mouse is, and what screen readers say.
"""

from xml.etree import ElementTree as ET

from msgspec import Struct


class Box(Struct, frozen=True):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float

    @property
    def top(self) -> tuple[float, float]:
        """The middle of its upper side."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of its lower side."""
        return self.x + self.width / 2, self.y + self.height


def picture(title: str, *, style: str, width: float, height: float) -> ET.Element:
    """A document with nothing on it but its ground, a rectangle of the class ``back``."""
    size = {"width": number(width), "height": number(height)}
    view = {"viewBox": f"0 0 {size['width']} {size['height']}", "role": "img"}
    root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, **view})
    ET.SubElement(root, "title").text = title
    ET.SubElement(root, "style").text = style
    rectangle(root, Box(0, 0, width, height), "back")
    return root


def text_of(root: ET.Element) -> str:
    """The whole document, an element a line."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def part(root: ET.Element, title: str) -> ET.Element:
    """What belongs together and has a title."""
    made = ET.SubElement(root, "g")
    ET.SubElement(made, "title").text = title
    return made


def rectangle(root: ET.Element, box: Box, kind: str, **more: str) -> None:
    """A rectangle; one of a class has round corners."""
    numbers = {"x": box.x, "y": box.y, "width": box.width, "height": box.height}
    shown = {name: number(value) for name, value in numbers.items()}
    ET.SubElement(root, "rect", {**({"class": kind, "rx": "4"} if kind else {}), **shown, **more})


def write(root: ET.Element, x: float, y: float, text: str, kind: str = "") -> None:
    """Words that begin at a point."""
    where = {"x": number(x), "y": number(y)}
    ET.SubElement(root, "text", {**({"class": kind} if kind else {}), **where}).text = text


def number(value: float) -> str:
    """With one digit after the point, where that is not 0."""
    return f"{value:.1f}".removesuffix(".0")
