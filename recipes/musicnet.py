"""The six domains of universal music translation (Mor et al., 2018), unpaired.

python data/musicnet.py MUSICNET music
python recipes/musicnet.py music runs/musicnet
"""

from unpaired import run

if __name__ == "__main__":
    run(
        "The six domains of universal music translation (Mor et al., 2018), unpaired.",
        preset="base",
        minutes=180,
    )
