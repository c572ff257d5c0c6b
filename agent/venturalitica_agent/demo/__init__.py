"""The demo, which is also the first acceptance test: plain training scripts on real data, the real service watching
them, and a table of what it wrote. Each kind of tracker is a scene of its own."""
