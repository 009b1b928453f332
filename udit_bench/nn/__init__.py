"""Network blocks that more than one method uses."""
