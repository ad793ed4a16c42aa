"""HTML as a tree. What goes in as text comes out as text: escaping is done when the tree is written."""

from xml.etree.ElementTree import Element

Content = Element | str


def element(tag: str, *content: Content, **attributes: str) -> Element:
    """An element with texts and elements in it; `class_` and `aria_label` stand for `class` and `aria-label`."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()})
    for item in content:
        if isinstance(item, Element):
            made.append(item)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + item
        else:
            made.text = (made.text or "") + item
    return made
