"""placeholder"""

import json
from typing import Any


def render(facts: Any) -> str:
    return "<pre>" + json.dumps(facts, indent=1, default=str) + "</pre>"
