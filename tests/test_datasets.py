"""The scripts of data/ that lay out published data sets as domains."""

from __future__ import annotations

import json
from pathlib import Path

import layout
import pytest
from layout import DataError
from scripts import script, tree, wav


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
