"""The languages that people read: English, in which every text of ours is written, and Spanish."""
