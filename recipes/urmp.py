"""Single instruments of the URMP recordings, unpaired.

python data/urmp.py URMP music
python recipes/urmp.py music runs/urmp
"""

from unpaired import run

if __name__ == "__main__":
    run("Single instruments of the URMP recordings, unpaired.", preset="base", minutes=90)
