"""Single notes of NSynth by instrument family, unpaired.

python data/nsynth.py NSYNTH music
python recipes/nsynth.py music runs/nsynth
"""

from unpaired import run

if __name__ == "__main__":
    run("Single notes of NSynth by instrument family, unpaired.", preset="base", minutes=90)
