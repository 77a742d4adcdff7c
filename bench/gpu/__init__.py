"""The parts of bench/gpu_check. Python's standard library only."""
