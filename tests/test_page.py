"""Pages of HTML: text is escaped, numbers sort, what a page holds it loads from nowhere."""

from __future__ import annotations

from audiovae.apps.page import Cell, Table, audio, document, embedded, table

NASTY = "<b>&\"'"


def test_text_is_escaped_wherever_it_stands() -> None:
    shown = table(Table([NASTY, "n"], [[Cell(NASTY), Cell("1", 1.0)]], NASTY, [NASTY]))
    page = document(NASTY, [shown, audio("a b.wav", NASTY)], alone=True)
    assert "<b>" not in page and "&\"'" not in page
    assert page.count("&lt;b&gt;&amp;&quot;&#x27;") == 7
    assert 'src="a%20b.wav"' in page


def test_columns_of_numbers_know_their_values_and_players_have_no_order() -> None:
    rows = [
        [Cell("one"), Cell("1.50 (1–2)", 1.5), Cell(html="<audio></audio>")],
        [Cell("two"), Cell("–"), Cell()],
    ]
    shown = table(Table(["name", "figure", "sound"], rows))
    assert 'data-value="1.5"' in shown and 'data-value=""' in shown
    assert shown.count("<button") == 2 and "sound</button>" not in shown
    assert shown.count('scope="row"') == 2


def test_a_page_that_stands_alone_may_load_nothing() -> None:
    assert "default-src 'none'" in document("a", [], alone=True)
    assert "default-src" not in document("a", [], alone=False)
    assert audio("", "nothing") == ""
    address = embedded(b"\x00\x01", "audio/mpeg")
    assert address == "data:audio/mpeg;base64,AAE="
    assert f'src="{address}"' in audio(address, "a")
