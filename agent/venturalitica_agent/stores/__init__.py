"""Every tracker that we know, behind one Protocol."""
