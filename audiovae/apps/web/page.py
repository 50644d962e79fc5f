"""The web page itself: one HTML document with its style and script, for one model."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from html import escape
from importlib import resources

from audiovae.apps.demo import Phrase
from audiovae.apps.page import document, paragraph
from audiovae.apps.web.settings import WebSettings
from audiovae.apps.web.shelf import RUNS
from audiovae.apps.web.studio import Studio
from audiovae.audio.files import AUDIO_SUFFIXES

KINDS = {"both": "what is played, and on what", "content": "what is played", "timbre": "on what"}


def show_page(studio: Studio, settings: WebSettings, phrases: Sequence[Phrase]) -> str:
    """Return the page as HTML."""
    domains = studio.model.domains
    facts = {
        "bytes": settings.max_bytes,
        "seconds": settings.max_seconds,
        "runs": RUNS,
    }
    data = " ".join(f'data-{key}="{value}"' for key, value in facts.items())
    body = [
        "<h1>audiovae: a sound on another instrument</h1>",
        paragraph(f"Model: {studio.name}, {len(domains)} domains.", "soft"),
        "<noscript><p>This page needs JavaScript.</p></noscript>",
        f'<div id="limits" {data}></div>',
        *_source(settings, phrases),
        *_targets(studio, domains),
        '<section id="results" aria-label="Results"></section>',
        *_embeddings(studio),
        '<div class="status"><p id="status" role="status">Choose, drop or record a sound.</p>'
        '<progress id="bar" max="1" aria-label="Share that is done" hidden></progress>'
        '<button type="button" id="stop" hidden>Stop</button></div>',
    ]
    parts = resources.files("audiovae.apps.web")
    names = ("page.css", "page.js", "sound.js")
    style, *scripts = (parts.joinpath(name).read_text("utf-8") for name in names)
    return document("audiovae", body, alone=False, style=style, script="".join(scripts))


def policy(page: str) -> str:
    """Return the content security policy of a page: its own style and script, nothing from afar."""
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_digest(style)}",
            f"script-src 'self' {_digest(script)}",
            "connect-src 'self'",
            "img-src 'self' data:",
            "media-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _source(settings: WebSettings, phrases: Sequence[Phrase]) -> list[str]:
    suffixes = ",".join(["audio/*", *sorted(AUDIO_SUFFIXES)])
    shown = "".join(
        f'<button type="button" class="chip" data-phrase="{number}">{escape(one.title)}</button>'
        for number, one in enumerate(phrases)
    )
    kept = f"{settings.keep_minutes:g} minutes after their last use"
    return [
        '<section aria-labelledby="first"><h2 id="first">1. A sound</h2>',
        '<div class="drop" id="drop">',
        f'<label class="button">Choose a file<input type="file" id="file" accept="{suffixes}">'
        "</label>",
        '<button type="button" id="record">Record</button>',
        '<meter id="level" max="1" aria-label="Level of the microphone" hidden></meter>',
        '<span id="clock" hidden></span><span class="soft">or drop one here</span></div>',
        f"<details><summary>Or take a phrase that comes with audiovae</summary>{shown}</details>",
        paragraph(
            f"At most {settings.max_megabytes:g} MB and {settings.max_seconds:g} seconds. Sounds "
            "go to the computer that serves this page and to no other. They are removed when the "
            f"page is closed, or {kept}.",
            "soft",
        ),
        '<div id="source"></div></section>',
    ]


def _targets(studio: Studio, domains: Sequence[str]) -> list[str]:
    boxes = "".join(
        f'<label class="chip"><input type="checkbox" name="to" value="{escape(d)}">{escape(d)}'
        "</label>"
        for d in domains
    )
    sliders = "".join(
        f'<label class="slider"><span>{escape(d)}</span><input type="range" name="blend" '
        f'data-domain="{escape(d)}" min="0" max="1" step="0.05" value="0">'
        "<output>–</output></label>"
        for d in domains
    )
    # WaveNets have no blend.
    blend = ""
    if len(domains) > 1 and studio.model.config.model.decoder != "wavenet":
        blend = (
            "<details><summary>Blend: one more sound, of several domains at once</summary>"
            f'<fieldset class="sliders" aria-label="Blend">{sliders}</fieldset></details>'
        )
    octave = (
        '<label><input type="checkbox" id="octave"> Shift by octaves into the range of the target'
        "</label>"
    )
    return [
        '<form id="form"><h2 id="second">2. What plays it</h2>',
        f'<fieldset class="chips" aria-labelledby="second">{boxes}</fieldset>',
        blend,
        "<details><summary>Options</summary><div class='options'>",
        octave if studio.ranged else "",
        '<label><input type="checkbox" id="loudness"> Keep the loudness of the source</label>',
        '<label class="slider"><span>New sound</span><input type="range" id="mix" min="0" max="1" '
        'step="0.05" value="1"><output>100 %</output></label>',
        "</div></details>",
        '<p class="go"><button type="submit" id="play" disabled>Play it</button> '
        '<label class="hold"><input type="checkbox" id="hold" checked> Players go on where the '
        "last one was</label></p></form>",
    ]


def _embeddings(studio: Studio) -> list[str]:
    timbre = ", and the timbre of the whole" if studio.timbre is not None else ""
    parts = [
        '<section aria-labelledby="third"><h2 id="third">3. What it is</h2>',
        paragraph(
            f"The embedding says what is played, frame by frame{timbre}: a NumPy archive.", "soft"
        ),
        '<p><button type="button" id="embed" disabled>Embed it</button></p>',
        '<div id="embedding"></div>',
    ]
    if studio.library is not None:
        options = "".join(
            f'<option value="{kind}">{KINDS[kind]}</option>'
            for kind in KINDS
            if kind in studio.kinds
        )
        parts += [
            paragraph(f"The folder has {len(studio.library.paths)} sounds to compare it with."),
            f'<p><label>Alike in <select id="kind">{options}</select></label> '
            '<button type="button" id="nearest" disabled>Find the nearest</button></p>',
            '<div id="neighbours"></div>',
        ]
    return [*parts, "</section>"]
