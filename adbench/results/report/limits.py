"""How much of very many records the report shows: the page says so wherever something is left out."""

from __future__ import annotations

ROWS = 200
"""Best rows of a table that the leaderboard shows; each has a page of its own."""
COMPARED = 24
"""Best rows of a table that are compared with each other and drawn in its charts."""
CHECKED = 6
"""Of those, shown when the page opens: there are as many colours."""
PICTURED = 12
"""Best rows of a table whose pictures the gallery holds."""
CURVE_POINTS = 100
"""Of a ROC or precision-recall curve."""
