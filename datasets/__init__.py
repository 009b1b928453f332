"""Sources of scenes: the bundled pasture, and readers for folders of real photos."""
