"""The scripts of data/: scores, performances, renderings and the layouts of published data sets."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

DATA = Path(__file__).parent.parent / "data"
if str(DATA) not in sys.path:
    sys.path.insert(0, str(DATA))

import invented  # noqa: E402
import layout  # noqa: E402
import performance  # noqa: E402
import render  # noqa: E402
import scores  # noqa: E402
import synthesis  # noqa: E402
from layout import DataError  # noqa: E402
from scores import Note, Score  # noqa: E402


def script(name: str) -> ModuleType:
    """A script of data/ under a name of its own: recipes/ has files of the same names."""
    spec = importlib.util.spec_from_file_location(f"data_{name}", DATA / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wav(path: Path, seconds: float = 0.05, suffix: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(int(seconds * 16_000)) * 0.1)
    soundfile.write(path, tone, 16_000, format=suffix)
    return path


def score(name: str, pitches: list[int], length: float = 1.0, tempo: float | None = 90) -> Score:
    notes = tuple(Note(i * length, length, p, 80, 0) for i, p in enumerate(pitches))
    return Score(name, "midi", tempo, notes)


def tunes(count: int = 40, notes: int = 40) -> list[Score]:
    draw = random.Random(3)
    return [
        score(f"tune-{i:02d}", [draw.randint(55, 80) for _ in range(notes)]) for i in range(count)
    ]


def options(**changes: object) -> argparse.Namespace:
    given = {"mode": "aligned", "split": "all", "pieces": None, "start": 0, "minutes": None}
    given |= {"max_seconds": 12.0, "min_seconds": 4.0, "vary": True, "seed": 0}
    return argparse.Namespace(**(given | changes))


def tree(root: Path) -> dict[str, list[str]]:
    return {d.name: sorted(p.name for p in d.iterdir()) for d in sorted(root.iterdir())}


# Scores


def test_split_is_by_tune_and_fixed() -> None:
    melody = [60, 62, 64, 65, 67, 65, 64, 62, 60, 67, 72, 71, 69, 67]
    solo = score("solo", melody)
    bass = tuple(Note(float(i), 1.0, 40 + i, 80, 1) for i in range(14))
    moved = tuple(n._replace(pitch=n.pitch + 3) for n in solo.notes)
    setting = Score("setting", "bach", None, tuple(sorted(moved + bass)))
    assert solo.tune == setting.tune == "2 2 1 2 -2 -1 -2 -2 7 5 -1 -2"
    assert solo.split == setting.split
    shares = Counter(s.split for s in invented.invented_scores(count=400))
    assert 0.10 < shares["test"] / 400 < 0.20


def test_order_holds_the_shares_of_the_collections_in_every_prefix() -> None:
    made = [Score(f"b{i}", "bach", None, ()) for i in range(60)]
    made += [Score(f"r{i}", "ryansMammoth", None, ()) for i in range(60)]
    ordered = scores.order(made, seed=1)
    assert Counter(s.collection for s in ordered[:40]) == {"bach": 30, "ryansMammoth": 10}
    assert ordered == scores.order(list(made), seed=1)
    assert ordered != scores.order(list(made), seed=2)


@pytest.mark.parametrize(
    "line",
    [
        "!!!YEM: Rights to all derivative electronic formats reserved. rights reserved",
        "% Copyright (C) 1999 somebody",
        "<rights>2010 – a CC-BY-SA 3.0 license</rights>",
        "for non-commercial distribution and use",
    ],
)
def test_an_encoding_that_states_a_restriction_is_found(line: str) -> None:
    assert scores.restriction(f"X:1\nT: a tune\n{line}\n") == line


@pytest.mark.parametrize(
    "line", ["<rights>Released to Public Domain</rights>", "© 2014 license (CC-BY)", "Z: somebody"]
)
def test_a_free_encoding_passes(line: str) -> None:
    assert scores.restriction(f"X:1\n{line}") is None


def test_midi_folder_becomes_scores_and_its_cache_holds_them(tmp_path: Path) -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    song = pretty_midi.PrettyMIDI()
    for program, drum, pitch in ((0, False, 60), (40, False, 72), (0, True, 36)):
        instrument = pretty_midi.Instrument(program, is_drum=drum)
        instrument.notes = [pretty_midi.Note(90, pitch + i, 0.5 * i, 0.5 * i + 0.4) for i in (0, 1)]
        song.instruments.append(instrument)
    folder, cache = tmp_path / "midi", tmp_path / "cache"
    (folder / "sub").mkdir(parents=True)
    song.write(str(folder / "sub" / "a song.mid"))
    (folder / "broken.mid").write_bytes(b"MThd")
    first = scores.load_scores(str(folder), cache)
    assert [s.name for s in first] == ["sub-a-song"]
    assert [(n.pitch, n.part) for n in first[0].notes] == [(60, 0), (72, 1), (61, 0), (73, 1)]
    assert scores.load_scores(str(folder), cache) == first
    kept = next(cache.glob("sub-a-song.*.json"))
    kept.write_text(kept.read_text().replace("sub-a-song", "from-cache"))
    assert scores.load_scores(str(folder), cache)[0].name == "from-cache"


def test_music21_score_becomes_notes_without_chord_symbols_and_grace_notes() -> None:
    pytest.importorskip("music21")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import chord, harmony, note, stream, tempo, tie

        part = stream.Part()
        part.append(tempo.MetronomeMark(number=80))
        held, ending = note.Note("C4", quarterLength=1), note.Note("C4", quarterLength=1)
        held.tie, ending.tie = tie.Tie("start"), tie.Tie("stop")
        for element in (held, ending, chord.Chord(["E4", "G4"]), note.Note("A4").getGrace()):
            part.append(element)
        part.insert(0, harmony.ChordSymbol("C"))
        found = scores._notes(stream.Score([part]))
    assert found[0] == 80
    assert [n[:3] for n in found[1]] == [(0.0, 2.0, 60), (2.0, 1.0, 64), (2.0, 1.0, 67)]


@pytest.mark.parametrize(("source", "says"), [("nowhere", "no folder"), (".", "no .mid file")])
def test_score_folders_that_do_not_serve(
    source: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=says):
        scores.load_scores(source)


def test_invented_scores_are_seeded_and_within_the_keyboard() -> None:
    made = invented.invented_scores(count=60)
    assert made == invented.invented_scores(count=60)
    assert made[0] != invented.invented_scores(seed=1, count=1)[0]
    pitches = [n.pitch for s in made for n in s.notes]
    assert min(pitches) < 40 and max(pitches) > 90
    assert all(33 <= p <= 98 for p in pitches)
    assert all(len(s.notes) > 10 and s.notes == tuple(sorted(s.notes)) for s in made)


# Performances


def test_a_performance_follows_from_seed_and_name() -> None:
    tune = tunes(1)[0]
    first = performance.perform(tune, seed=4, max_seconds=10)
    assert first == performance.perform(tune, seed=4, max_seconds=10)
    assert first != performance.perform(tune, seed=5, max_seconds=10)


@pytest.mark.parametrize("made", invented.invented_scores(seed=9, count=12), ids=lambda s: s.name)
def test_a_performance_can_be_played_by_one_instrument(made: Score) -> None:
    notes = performance.perform(made, seed=1, max_seconds=9.0)
    assert notes == tuple(sorted(notes))
    assert notes[0].start == pytest.approx(0.05)
    assert performance.seconds(notes) <= 9.0
    assert all(n.length > 0 and 24 <= n.velocity <= 124 for n in notes)
    for pitch in {n.pitch for n in notes}:
        voice = [n for n in notes if n.pitch == pitch]
        gaps = [b.start - a.start - a.length for a, b in itertools.pairwise(voice)]
        assert all(gap > 0.005 for gap in gaps)


def test_humanising_moves_notes_a_little() -> None:
    tune = score("steady", [60 + i % 12 for i in range(60)], tempo=60)
    notes = performance.perform(tune, seed=0, vary=False)
    starts = np.array([n.start for n in notes])
    steps = np.diff(starts)
    assert [n.pitch for n in notes] == [n.pitch for n in tune.notes]
    assert 0.85 < steps.mean() < 1.15
    assert 0.005 < steps.std() < 0.1
    assert np.std([n.velocity for n in notes]) > 1


@pytest.mark.parametrize("pitches", [[60, 64], [34, 97], [33, 40], [90, 98], [20, 110]])
def test_a_piece_moves_only_where_every_note_fits(pitches: list[int]) -> None:
    low, high = performance.LOWEST, performance.HIGHEST
    shifts = {performance.transposition(pitches, random.Random(i)) for i in range(200)}
    moved = shifts - {0}
    assert all(low <= p + shift <= high for shift in moved for p in pitches)
    if pitches == [60, 64]:
        assert {-12, 12} <= shifts and len(shifts) > 20
    if pitches == [20, 110]:
        assert shifts == {0}


def test_unisons_become_one_note_and_a_repeat_ends_the_note_before_it() -> None:
    notes = [Note(0.0, 1.0, 60, 80, 0), Note(0.01, 2.0, 60, 70, 1), Note(1.5, 1.0, 60, 75, 0)]
    single = performance.single_voice_a_pitch(notes)
    assert single == [Note(0.0, 1.49, 60, 80, 0), Note(1.5, 1.0, 60, 75, 0)]


# Plans


def test_aligned_pieces_have_one_list_of_notes_for_every_domain() -> None:
    pieces = render.plan(tunes(), render.DOMAINS, options(pieces=5))
    assert len(pieces) == 5
    assert all(dict(p.domains) == render.DOMAINS for p in pieces)


def test_unpaired_domains_share_no_tune_and_have_equal_minutes() -> None:
    twice = [*tunes(), *(Score(f"{s.name}-again", *_rest(s)) for s in tunes())]
    domains = {"piano": 0, "flute": 73, "organ": 19}
    pieces = render.plan(twice, domains, options(mode="unpaired"))
    assert len(pieces) == len(twice)
    homes: dict[str, set[str]] = {}
    lengths = Counter[str]()
    for piece in pieces:
        ((domain, _),) = piece.domains
        homes.setdefault(piece.name.removesuffix("-again"), set()).add(domain)
        lengths[domain] += round(piece.seconds)
    assert all(len(h) == 1 for h in homes.values())
    assert max(lengths.values()) < 1.25 * min(lengths.values())


def _rest(made: Score) -> tuple[str, float | None, tuple[Note, ...]]:
    return made.collection, made.tempo, made.notes


def test_plan_keeps_to_split_start_pieces_and_minutes() -> None:
    made = tunes(60)
    train = render.plan(made, {"piano": 0}, options(split="train"))
    test = render.plan(made, {"piano": 0}, options(split="test"))
    assert {p.name for p in train} | {p.name for p in test} == {s.name for s in made}
    assert not {p.name for p in train} & {p.name for p in test}
    later = render.plan(made, {"piano": 0}, options(split="train", start=3, pieces=4))
    assert later == train[3:7]
    capped = render.plan(made, {"piano": 0, "flute": 73}, options(minutes=1.0, mode="unpaired"))
    seconds = Counter[str]()
    for piece in capped:
        seconds[piece.domains[0][0]] += round(piece.seconds)
    assert all(55 < s < 75 for s in seconds.values())
    with pytest.raises(DataError, match="no piece is left of 60 scores"):
        render.plan(made, {"piano": 0}, options(min_seconds=1000))


def test_domains_are_parsed_and_wrong_ones_named() -> None:
    assert render.parse_domains(None) == render.DOMAINS
    assert render.parse_domains(["flute", "cello=42"]) == {"flute": 73, "cello": 42}
    for wrong in ("cello", "cello=128", "a/b=3", "=4", "cello=-1", ".hidden=3"):
        with pytest.raises(DataError, match="expected name=program"):
            render.parse_domains([wrong])


# Rendering


class Beeps:
    """A stand-in for a synthesiser: a sine a note."""

    calls = 0

    def __init__(self, soundfont: Path) -> None:
        self.soundfont = soundfont

    def render(self, notes: list[Note], program: int, samples: int) -> np.ndarray:
        Beeps.calls += 1
        time = np.arange(samples) / synthesis.SAMPLE_RATE
        audio = np.zeros(samples, np.float32)
        for n in notes:
            held = (time >= n.start) & (time < n.start + n.length)
            audio += held * np.sin(2 * np.pi * 440 * 2 ** ((n.pitch - 69) / 12) * time) * 0.3
        return audio * (1 + program / 50)


@pytest.fixture
def beeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The command's arguments for two invented pieces, played by `Beeps`."""
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    monkeypatch.setattr(render, "open_synthesiser", Beeps)
    monkeypatch.setattr(Beeps, "calls", 0)
    given = "--scores invented --domains piano flute --pieces 2 --max-seconds 3 --min-seconds 1"
    return [*given.split(), "--workers", "1", "--soundfont", str(font)]


def test_aligned_rendering(beeps: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    render.main([str(out), *beeps, "--mode", "aligned"])
    groups = json.loads((out / "groups.json").read_text())
    files = sorted(out.glob("*/*.flac"))
    assert sorted(groups) == [str(f.relative_to(out)) for f in files] and len(files) == 4
    assert {f.stem for f in files} == set(groups.values())
    for file in files:
        audio, rate = soundfile.read(file)
        info = soundfile.info(file)
        assert (rate, info.channels, info.subtype) == (44_100, 1, "PCM_16")
        assert np.abs(audio).max() == pytest.approx(render.PEAK, abs=1e-3)
        assert len(audio) <= 3 * 44_100
    for name in set(groups.values()):
        lengths = {soundfile.info(out / d / f"{name}.flac").frames for d in ("piano", "flute")}
        assert len(lengths) == 1


def test_rendering_goes_on_and_grows_and_refuses_other_options(
    beeps: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = [str(out), *beeps, "--mode", "aligned"]
    render.main(arguments)
    kept = {p: p.read_bytes() for p in out.glob("*/*.flac")}
    gone = next(iter(kept))
    gone.unlink()
    render.main(arguments)
    assert Beeps.calls == 5
    assert {p: p.read_bytes() for p in out.glob("*/*.flac")} == kept
    render.main([*arguments, "--pieces", "3"])
    assert Beeps.calls == 7
    with pytest.raises(DataError, match="other options"):
        render.main([*arguments, "--seed", "1"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (["--pieces", "0"], "--pieces must be more than 0"),
        (["--minutes", "-1"], "--minutes must be more than 0"),
        (["--max-seconds", "1"], "at least 2"),
        (["--soundfont", "nowhere.sf2"], "no soundfont nowhere.sf2"),
        (["--domains", "piano=200"], "expected name=program"),
        (["--min-seconds", "100"], "no piece is left"),
    ],
)
def test_wrong_options_are_named(
    wrong: list[str], says: str, beeps: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=says) as caught:
        render.main([str(out), *beeps, *wrong])
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_no_synthesiser_gives_one_line_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    font = tmp_path / "font.sf2"
    font.write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as stopped:
        layout.run(render.main, [str(tmp_path / "out"), "--soundfont", str(font)])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: no synthesiser found; apt install libfluidsynth3")
    assert line.count("\n") == 1


def test_no_soundfont_gives_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(synthesis, "SYSTEM_SOUNDFONT", tmp_path / "none.sf2")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="no soundfont found; install"):
        synthesis.find_soundfont()


def test_events_lie_on_the_grid_and_offs_come_first() -> None:
    notes = [Note(0.1, 0.5, 60, 80, 0), Note(0.6, 0.5, 62, 81, 0), Note(9.0, 1.0, 64, 82, 0)]
    events = synthesis._events(notes, samples=44_100)
    assert [e[1:] for e in events] == [(1, 60, 80), (0, 60, 0), (1, 62, 81), (0, 62, 0)]
    assert all(e[0] % synthesis.BLOCK == 0 for e in events)
    assert events[0][0] / 44_100 == pytest.approx(0.1, abs=0.001)


def test_a_real_synthesiser_gives_the_same_bits_whatever_it_played_before() -> None:
    try:
        player = synthesis.open_synthesiser(synthesis.find_soundfont())
    except DataError as missing:
        pytest.skip(str(missing))
    notes = [Note(0.05, 0.3, 60, 90, 0), Note(0.2, 0.3, 67, 70, 0)]
    samples = 30_001
    first = player.render(notes, 0, samples)
    other = player.render(notes, 48, samples)
    assert first.shape == (samples,) and first.dtype == np.float32
    assert np.abs(first[:2000]).max() == 0 and np.abs(first[2300:4000]).max() > 1e-3
    assert not np.allclose(first, other)
    assert np.array_equal(first, player.render(notes, 0, samples))


# Published data sets


def test_tree_links_copies_and_never_mixes_files(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    a, b = wav(source / "a" / "x.wav"), wav(source / "b" / "x.wav", seconds=0.1)
    links = layout.Tree(source, out)
    placed = links.add(a, "piano")
    assert placed.is_symlink() and placed.resolve() == a.resolve()
    assert links.add(a, "piano") == placed
    with pytest.raises(DataError, match="another file"):
        links.add(b, "piano")
    copy = layout.Tree(source, tmp_path / "copies", copy=True).add(a, "piano")
    assert not copy.is_symlink() and copy.read_bytes() == a.read_bytes()
    with pytest.raises(DataError, match="inside SOURCE"):
        layout.Tree(source, source / "out")
    with pytest.raises(DataError, match="nothing was found"):
        layout.Tree(source, out).report("anything")


def nsynth_tree(root: Path) -> None:
    for split, notes in (
        (
            "train",
            (("brass_acoustic_000-060-100", "brass"), ("bass_synthetic_001-040-050", "bass")),
        ),
        ("valid", (("guitar_electronic_002-050-075", "guitar"),)),
    ):
        table = {}
        for name, family in notes:
            instrument = name.split("-")[0]
            table[name] = {
                "instrument_family_str": family,
                "instrument_source_str": instrument.split("_")[1],
                "instrument_str": instrument,
            }
            wav(root / f"nsynth-{split}" / "audio" / f"{name}.wav")
        (root / f"nsynth-{split}" / "examples.json").write_text(json.dumps(table))


def test_nsynth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "nsynth", tmp_path / "out"
    nsynth_tree(source)
    main = script("nsynth").main
    main([str(source), str(out)])
    assert sorted(tree(out)) == ["bass", "brass", "guitar"]
    assert "3  files in 3 domains" in capsys.readouterr().out
    given = ["--by", "instrument", "--splits", "train", "--sources", "acoustic", "--copy"]
    main([str(source), str(tmp_path / "one"), *given])
    assert tree(tmp_path / "one") == {"brass-acoustic-000": ["brass_acoustic_000-060-100.wav"]}
    with pytest.raises(DataError, match="nsynth-test"):
        main([str(source), str(out), "--splits", "test"])
    with pytest.raises(DataError, match="holds none of nsynth-train"):
        main([str(tmp_path), str(out)])
    (source / "nsynth-train" / "audio" / "brass_acoustic_000-060-100.wav").unlink()
    with pytest.raises(DataError, match="note brass_acoustic_000-060-100 is missing"):
        main([str(source), str(out)])
    (source / "nsynth-valid" / "examples.json").write_text("[1]")
    with pytest.raises(DataError, match=r"is not NSynth's examples\.json"):
        main([str(source), str(out), "--splits", "valid"])


MUSICNET = """id,composer,composition,movement,ensemble,source,transcriber,catalog_name,seconds
2186,Bach,Cello Suite 4,2. Allemande,Solo Cello,European Archive,suzu,BWV1010,203
2241,Bach,WTC I,Prelude,Solo Piano,Museopen,anon,BWV846,120
2310,Beethoven,Sonata 1,1. Allegro,Solo Piano,Museopen,anon,OP2NO1,300
2659,Cambini,Wind Quintet 1,1. Allegro,Wind Quintet,European Archive,anon,,400
1727,Schubert,Piano Quintet in A,2. Andante,Piano Quintet,European Archive,anon,OP114,447
"""


@pytest.mark.parametrize("inside", ["", "musicnet"])
def test_musicnet(inside: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("train_data/2186", "train_data/2241", "test_data/2310", "train_data/2659"):
        wav(source / inside / f"{name}.wav")
    (source / "musicnet_metadata.csv").write_text(MUSICNET)
    main = script("musicnet").main
    main([str(source), str(out)])
    assert tree(out) == {
        "solo-cello-bach": ["2186.wav"],
        "solo-piano-bach": ["2241.wav"],
        "solo-piano-beethoven": ["2310.wav"],
        "wind-quintet-cambini": ["2659.wav"],
    }
    with pytest.raises(DataError, match=r"1 recordings .* missing, first 1727\.wav"):
        main([str(source), str(tmp_path / "all"), "--all"])
    wav(source / inside / "train_data" / "1727.wav")
    main([str(source), str(tmp_path / "everything"), "--all"])
    assert "piano-quintet-schubert" in tree(tmp_path / "everything")


def test_musicnet_names_what_is_missing(tmp_path: Path) -> None:
    main = script("musicnet").main
    with pytest.raises(DataError, match="no folder"):
        main([str(tmp_path / "nowhere"), str(tmp_path / "out")])
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(DataError, match=r"musicnet_metadata\.csv"):
        main([str(source), str(tmp_path / "out")])
    (source / "musicnet_metadata.csv").write_text("id,composer\n1,Bach\n")
    with pytest.raises(DataError, match="no column ensemble"):
        main([str(source), str(tmp_path / "out")])
    (source / "musicnet_metadata.csv").write_text(MUSICNET)
    with pytest.raises(DataError, match="no train_data or test_data"):
        main([str(source), str(tmp_path / "out")])


def test_urmp(tmp_path: Path) -> None:
    source, out = tmp_path / "URMP", tmp_path / "out"
    piece = source / "Dataset" / "01_Jupiter_vn_vc"
    for name in ("AuSep_1_vn_01_Jupiter", "AuSep_2_vc_01_Jupiter", "AuMix_01_Jupiter_vn_vc"):
        wav(piece / f"{name}.wav")
    main = script("urmp").main
    main([str(source), str(out)])
    main([str(source / "Dataset"), str(tmp_path / "again")])
    expected = {"cello": ["AuSep_2_vc_01_Jupiter.wav"], "violin": ["AuSep_1_vn_01_Jupiter.wav"]}
    assert tree(out) == tree(tmp_path / "again") == expected
    wav(piece / "AuSep_3_kazoo_01_Jupiter.wav")
    with pytest.raises(DataError, match="names no instrument of URMP"):
        main([str(source), str(out)])
    (source / "Dataset" / "02_Sonata_vn_vn").mkdir()
    (piece / "AuSep_3_kazoo_01_Jupiter.wav").unlink()
    with pytest.raises(DataError, match=r"separate tracks of .*02_Sonata_vn_vn are missing"):
        main([str(source), str(out)])
    with pytest.raises(DataError, match="no piece folder"):
        main([str(piece), str(out)])


MAESTRO = """canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration
Franz Schubert,"Sonata in A, D. 664",train,2018,2018/a.midi,2018/a.wav,600.1
Franz Schubert,Impromptu,test,2017,2017/b.midi,2017/b.wav,300.5
Domenico Scarlatti / x,Sonata,validation,2018,2018/c.midi,2018/c.wav,200.2
"""


def test_maestro(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "maestro-v3.0.0", tmp_path / "out"
    for name in ("2018/a", "2017/b"):
        wav(source / f"{name}.wav")
    main = script("maestro").main
    with pytest.raises(DataError, match=r"no maestro-v\*\.csv"):
        main([str(source), str(out)])
    (source / "maestro-v3.0.0.csv").write_text(MAESTRO)
    with pytest.raises(DataError, match=r"1 of 3 recordings .* 2018/c\.wav; the midi-only"):
        main([str(source), str(out)])
    wav(source / "2018" / "c.wav")
    main([str(source), str(out)])
    assert tree(out) == {"piano": ["2017-b.wav", "2018-a.wav", "2018-c.wav"]}
    capsys.readouterr()
    main([str(source), str(tmp_path / "by"), "--by", "composer", "--min-recordings", "2"])
    assert tree(tmp_path / "by") == {"Franz-Schubert": ["2017-b.wav", "2018-a.wav"]}
    assert "left out, under 2 recordings: Domenico-Scarlatti-x" in capsys.readouterr().out
    main([str(source), str(tmp_path / "split"), "--by", "year", "--splits", "train"])
    assert tree(tmp_path / "split") == {"2018": ["2018-a.wav"]}


SLAKH = """UUID: 0a1b
audio_dir: stems
lmd_midi_dir: lmd_matched/M/F/TRMFABC
normalized: true
overall_gain: 0.1
stems:
  S00:
    audio_rendered: true
    inst_class: Piano
    integrated_loudness: -20.5
    is_drum: false
    midi_program_name: Acoustic Grand Piano
    program_num: 0
  S01:
    audio_rendered: true
    inst_class: Drums
    is_drum: true
    midi_program_name: Drums
  S02:
    audio_rendered: false
    inst_class: Guitar
  S03:
    audio_rendered: true
    inst_class: Chromatic Percussion
target_peak: -1.0
"""


def test_slakh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "slakh2100_flac_redux", tmp_path / "out"
    track = source / "train" / "Track00001"
    for stem in ("S00", "S01", "S03"):
        wav(track / "stems" / f"{stem}.flac")
    (track / "metadata.yaml").write_text(SLAKH)
    main = script("slakh").main
    main([str(source), str(out)])
    expected = {"chromatic-percussion": ["Track00001-S03.flac"], "piano": ["Track00001-S00.flac"]}
    assert tree(out) == expected
    said = capsys.readouterr().out
    assert "1  left out: Drums" in said and "did not render" in said
    main([str(source / "train"), str(tmp_path / "drums"), "--classes", "Drums", "piano"])
    assert sorted(tree(tmp_path / "drums")) == ["drums", "piano"]
    with pytest.raises(DataError, match=r"split 'test' is missing: .*there are: \['train'\]"):
        main([str(source), str(out), "--splits", "test"])
    (track / "stems" / "S00.flac").unlink()
    with pytest.raises(DataError, match=r"stem S00 of .*Track00001 is missing"):
        main([str(source), str(out)])
    (track / "metadata.yaml").write_text("UUID: 1\n")
    with pytest.raises(DataError, match="lists no stems with inst_class"):
        main([str(source), str(out)])
    (track / "metadata.yaml").unlink()
    with pytest.raises(DataError, match="metadata of Track00001 is missing"):
        main([str(source), str(out)])
    with pytest.raises(DataError, match="no folder such as Track00001"):
        main([str(track), str(out)])


def test_gtzan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "Data", tmp_path / "out"
    folder = source / "genres_original"
    wav(folder / "blues" / "blues.00000.wav")
    wav(folder / "jazz" / "jazz.00000.wav")
    wav(folder / "jazz" / "jazz.00001.au", suffix="AU")
    (folder / "jazz" / "jazz.00054.wav").write_bytes(b"damaged")
    (folder / "jazz" / "notes.txt").write_text("none")
    main = script("gtzan").main
    with pytest.raises(DataError, match="genre 'classical' is missing"):
        main([str(source), str(out)])
    out2 = tmp_path / "two"
    main([str(folder), str(out2), "--genres", "blues", "jazz"])
    assert tree(out2) == {"blues": ["blues.00000.wav"], "jazz": ["jazz.00000.wav", "jazz.00001.au"]}
    said = capsys.readouterr().out
    assert "left out, can't be opened" in said and "jazz.00054.wav" in said
    (folder / "rock").mkdir()
    with pytest.raises(DataError, match=r"holds no rock\.00000\.au or \.wav"):
        main([str(source), str(out), "--genres", "rock"])
    with pytest.raises(DataError, match="no genre folder such as blues"):
        main([str(tmp_path / "two" / "blues"), str(out)])


@pytest.mark.parametrize("name", ["nsynth", "musicnet", "urmp", "maestro", "slakh", "gtzan"])
def test_every_script_names_a_missing_source_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        layout.run(script(name).main, [str(tmp_path / "nowhere"), str(tmp_path / "out")])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert "is missing: no folder" in line and "expected" in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()
