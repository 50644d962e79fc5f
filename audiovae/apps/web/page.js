const $ = (id) => document.getElementById(id);
const limits = $("limits").dataset;
const actions = ["play", "embed", "nearest"].map($).filter(Boolean);
let current = null; // The sound: blob, name and, once the server has it, id and facts.
let going = null; // Aborts what goes on.

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}
const seconds = (x) => `${x < 9.95 ? x.toFixed(1) : Math.round(x)} s`;

// What goes on, one thing at a time.
async function during(text, work) {
  going?.abort();
  const mine = (going = new AbortController());
  const update = () => {
    $("stop").hidden = $("bar").hidden = !going;
    for (const button of actions) button.disabled = Boolean(going) || !current;
  };
  $("bar").removeAttribute("value");
  update();
  say(text);
  try {
    return await work(mine.signal);
  } catch (error) {
    const cut = error instanceof TypeError ? "The server does not answer." : error.message;
    if (going === mine) say(mine.signal.aborted ? "Stopped." : cut, !mine.signal.aborted);
  } finally {
    if (going === mine) going = null;
    update();
  }
}
async function ask(path, options) {
  const answer = await fetch(path, options);
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  const wait = answer.headers.get("retry-after");
  const error = Error((said.error ?? `Error ${answer.status}`) + (wait ? ` (in ${wait} s)` : ""));
  throw Object.assign(error, { status: answer.status });
}
async function bring(signal) {
  const sound = current;
  if (sound.id) return sound;
  const send = (body) => ask("sounds", { method: "POST", body, signal });
  const options = { method: "POST", signal };
  let answer;
  if (sound.phrase !== undefined) answer = await ask(`phrases/${sound.phrase}`, options);
  else {
    try {
      answer = await send(sound.blob);
    } catch (error) {
      // What this browser can decode, films among it, goes there as WAV.
      const decoded = error.status === 415 && (await decode(sound.blob));
      if (!decoded) throw error;
      answer = await send(decoded);
    }
  }
  const facts = await answer.json();
  return Object.assign(sound, facts, { id: facts.sound });
}
// Where the server has removed the sound meanwhile, it is brought again.
async function job(path, wish, signal) {
  for (const again of [true, false]) {
    const sound = await bring(signal);
    const headers = { "content-type": "application/json" };
    const options = { method: "POST", body: JSON.stringify(wish), headers, signal };
    try {
      const answer = await ask(`sounds/${sound.id}/${path}`, options);
      return { sound, result: await last(answer) };
    } catch (error) {
      if (error.status !== 404 || !again) throw error;
      sound.id = null;
    }
  }
}
async function last(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", line = {};
  for (;;) {
    const { value, done } = await reader.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = parts.pop();
    for (const text of parts.filter(Boolean)) {
      line = JSON.parse(text);
      if (line.error) throw Error(line.error);
      if (line.place) say(`Waiting: ${line.place} before this one in the queue.`);
      if (line.share !== undefined) {
        $("bar").value = line.share;
        say(`Working: ${Math.round(100 * line.share)} %`);
      }
    }
    if (done) break;
  }
  if (line.spent === undefined) throw Error("The server has stopped in the middle of it.");
  return line;
}
function pace(result) {
  const waited = result.waited > 0.5 ? `, after ${seconds(result.waited)} in the queue` : "";
  const times = result.times_real_time;
  const shown = times < 9.95 ? times.toFixed(1) : Math.round(times);
  const spent = result.spent < 0.95 ? `${result.spent.toFixed(2)} s` : seconds(result.spent);
  return `${seconds(result.seconds)} of sound in ${spent}: ${shown} times real time${waited}`;
}

// The sound.
function leave() {
  if (current?.id) fetch(`sounds/${current.id}`, { method: "DELETE", keepalive: true });
  if (current) current.id = null;
}
function take(sound) {
  leave();
  for (const id of ["source", "results", "embedding", "neighbours"]) $(id)?.replaceChildren();
  current = null;
  if (sound.blob && sound.blob.size > limits.bytes) {
    const most = `${limits.bytes / 1e6} MB`;
    return during("", async () => { throw Error(`The file is larger than ${most}: cut it up.`); });
  }
  current = sound;
  return during(`Reading ${sound.name}`, async (signal) => {
    try {
      await bring(signal);
    } catch (error) {
      if (current === sound) current = null;
      throw error;
    }
    const kind = `${seconds(sound.seconds)}, ${sound.sample_rate} Hz, ${sound.format}`;
    $("source").replaceChildren(card(sound.name, kind, `sounds/${sound.id}/0/source`));
    say("Ready.");
  });
}
const stem = (name) => name.replace(/\.[^.]*$/, "") || "sound";
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) take({ blob: file, name: file.name });
  $("file").value = "";
});
for (const button of document.querySelectorAll("[data-phrase]"))
  button.addEventListener("click", () =>
    take({ phrase: button.dataset.phrase, name: button.textContent }));
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", kind === "dragover");
    const [file] = kind === "drop" ? event.dataTransfer.files : [];
    if (file) take({ blob: file, name: file.name });
  });
addEventListener("pagehide", leave);

// Cards of sounds: picture, player, file.
function card(title, facts, path, download) {
  const name = `${title}, ${facts}`;
  const image = element("img", { src: `${path}.webp`, alt: `Spectrogram: ${name}` });
  const picture = element("div", { className: "picture" }, image);
  const audio = element("audio", { controls: true, preload: "metadata", src: `${path}.wav` });
  audio.setAttribute("aria-label", name);
  audio.className = "held";
  const show = () => {
    picture.style.setProperty("--seen", audio.currentTime > 0 ? 0.9 : 0);
    picture.style.setProperty("--at", audio.currentTime / audio.duration || 0);
    if (!audio.paused) requestAnimationFrame(show);
  };
  for (const kind of ["play", "seeked", "timeupdate"]) audio.addEventListener(kind, show);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    audio.currentTime = ((event.clientX - box.left) / box.width) * audio.duration || 0;
    audio.play().catch(() => say("This sound can no longer be played: make it again.", true));
  });
  const caption = element("figcaption", {}, element("b", {}, title), element("span", {}, facts));
  const made = element("figure", {}, caption, picture, audio);
  if (download) {
    const link = { href: `${path}.wav`, download, textContent: `Download ${download}` };
    made.append(element("a", link));
  }
  return made;
}
let held = null; // The player that sounded last.
document.addEventListener("play", ({ target }) => {
  if (!target.classList.contains("held")) return;
  if (held && held !== target && held.isConnected && $("hold").checked && !held.ended)
    target.currentTime = held.currentTime;
  held = target;
}, true);

// Playing.
function weights() {
  const sliders = [...document.querySelectorAll("[name=blend]")];
  return sliders.map((s) => [s.dataset.domain, Number(s.value)]).filter(([, w]) => w > 0);
}
function showWeights() {
  const sum = weights().reduce((total, [, weight]) => total + weight, 0);
  for (const slider of document.querySelectorAll("[name=blend]"))
    slider.nextElementSibling.value =
      Number(slider.value) > 0 ? `${Math.round((100 * slider.value) / sum)} %` : "–";
}
for (const slider of document.querySelectorAll("[name=blend]"))
  slider.addEventListener("input", showWeights);
$("mix").addEventListener("input", () => {
  $("mix").nextElementSibling.value = `${Math.round(100 * $("mix").value)} %`;
});
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!current || going) return;
  const to = [...document.querySelectorAll("[name=to]:checked")].map((box) => box.value);
  const blend = weights(), sum = blend.reduce((total, [, weight]) => total + weight, 0);
  if (!to.length && !blend.length) return say("Choose what plays it: a domain, or a blend.", true);
  const octave = $("octave")?.checked ? "auto" : "keep";
  const wish = { to, blend, octave, mix: Number($("mix").value) };
  wish.keep_loudness = $("loudness").checked;
  const parts = blend.map(([domain, weight]) => `${domain} ${Math.round((100 * weight) / sum)} %`);
  during("Sending", async (signal) => {
    const { sound, result } = await job("play", wish, signal);
    const cards = result.sounds.map((one) => {
      const path = `sounds/${sound.id}/${result.run}/${one.sound.replace(/\.wav$/, "")}`;
      const facts = [one.transposed ? `${one.transposed} semitones` : ""];
      if (one.clipped) facts.push(`${one.clipped} samples cut`);
      const title = one.target === "blend" && blend.length ? parts.join(", ") : one.target;
      const file = `${stem(sound.name)}.${one.target}.wav`;
      return card(title, facts.filter(Boolean).join(", ") || seconds(sound.seconds), path, file);
    });
    const heading = element("h3", {}, pace(result));
    $("results").prepend(element("div", {}, heading, element("div", { className: "sounds" }, ...cards)));
    while ($("results").children.length > limits.runs) $("results").lastChild.remove();
    say(pace(result) + ".");
  });
});
$("stop").addEventListener("click", () => going?.abort());

// Embeddings and neighbours.
$("embed").addEventListener("click", () =>
  during("Sending", async (signal) => {
    const { sound, result } = await job("embed", {}, signal);
    const href = `sounds/${sound.id}/${result.run}/embedding.npz`, file = `${stem(sound.name)}.npz`;
    const shapes = Object.entries(result.shapes).map(([key, n]) => `${key} (${n.join(", ")})`);
    const link = element("a", { href, download: file }, `Download ${file}`);
    $("embedding").replaceChildren(element("p", {}, link, `: ${shapes.join(", ")}. ${pace(result)}.`));
    say("Embedded.");
  }));
$("nearest")?.addEventListener("click", () =>
  during("Sending", async (signal) => {
    const { result } = await job("nearest", { kind: $("kind").value }, signal);
    const rows = result.hits.map((hit) => {
      const audio = element("audio", { controls: true, preload: "none", src: `library/${hit.number}` });
      audio.setAttribute("aria-label", hit.name);
      const cell = element("td", {}, hit.plays ? audio : "");
      const alike = element("td", { className: "number" }, hit.similarity.toFixed(3));
      return element("tr", {}, element("th", { scope: "row" }, hit.name), alike, cell);
    });
    const heads = ["sound", "alike", "player"].map((text) => element("th", { scope: "col" }, text));
    heads[1].className = "number";
    const head = element("thead", {}, element("tr", {}, ...heads));
    const table = element("table", { className: "neighbours" }, head, element("tbody", {}, ...rows));
    $("neighbours").replaceChildren(table, element("p", { className: "soft" }, `${pace(result)}.`));
    say("Found.");
  }));
