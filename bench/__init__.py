"""How fast it is. `python -m bench` writes bench/bench.md."""
