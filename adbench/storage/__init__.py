"""Files written whole or not at all, trained parts by content, and stages that trials share."""
