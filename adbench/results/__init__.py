"""Records, and the pages made from them alone."""
