"""Raw audio in, raw audio out: no mel, no vocoder.

python data/render.py music --mode unpaired
python recipes/waveform.py music runs/waveform
"""

from unpaired import run

if __name__ == "__main__":
    run("Raw audio in, raw audio out: no mel, no vocoder.", preset="waveform", minutes=120)
