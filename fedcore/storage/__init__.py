"""Files written whole, event logs, locks and memory-mapped vectors."""
