"""The parts of bench/run.py: what it starts, what it measures, what it reports."""
