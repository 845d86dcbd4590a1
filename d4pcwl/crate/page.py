"""x"""
from typing import Any
def page(crate: Any) -> str:
    return "<html></html>"
