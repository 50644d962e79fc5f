// Sound that comes from the browser itself: a microphone, or a film that it can decode.
const RATE = 48000; // Hertz, of what is decoded here.

// Channels of samples to a WAV file of 16 bits.
function encodeWav(channels, rate) {
  const count = channels.length, frames = channels[0].length, size = 2 * count * frames;
  const view = new DataView(new ArrayBuffer(44 + size));
  const text = (place, word) => [...word].forEach((c, i) => view.setUint8(place + i, c.charCodeAt()));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  for (const [place, value] of [[4, 36 + size], [16, 16], [24, rate], [28, 2 * count * rate], [40, size]])
    view.setUint32(place, value, true);
  for (const [place, value] of [[20, 1], [22, count], [32, 2 * count], [34, 16]])
    view.setUint16(place, value, true);
  for (let i = 0, place = 44; i < frames; i++)
    for (const samples of channels) {
      view.setInt16(place, Math.round(Math.max(-1, Math.min(1, samples[i])) * 32767), true);
      place += 2;
    }
  return new Blob([view], { type: "audio/wav" });
}
async function decode(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, RATE);
    const found = await context.decodeAudioData(await blob.arrayBuffer());
    const channels = [...Array(Math.min(2, found.numberOfChannels)).keys()];
    return encodeWav(channels.map((n) => found.getChannelData(n)), RATE);
  } catch {
    return null; // It can't, either.
  }
}

let recording = null; // Ends what is being recorded.
$("record").addEventListener("click", async () => {
  if (recording) return recording();
  if (!navigator.mediaDevices || !window.AudioWorkletNode)
    return say("Browsers lend the microphone to localhost and to https pages alone.", true);
  let stream;
  try {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
  } catch (error) {
    return say(`No microphone: ${error.message}`, true);
  }
  for (const player of document.querySelectorAll("audio")) player.pause();
  const context = new AudioContext(), blocks = [];
  await context.audioWorklet.addModule("recorder.js");
  const node = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
  let frames = 0;
  const most = limits.seconds * context.sampleRate;
  const show = (on) => {
    $("record").textContent = on ? "Stop recording" : "Record";
    $("record").classList.toggle("on", on);
    $("clock").hidden = $("level").hidden = !on;
  };
  recording = () => {
    recording = null;
    stream.getTracks().forEach((track) => track.stop());
    context.close();
    show(false);
    const whole = new Float32Array(Math.min(frames, most));
    let place = 0;
    for (const block of blocks) {
      const kept = block.subarray(0, whole.length - place);
      whole.set(kept, place);
      place += kept.length;
    }
    if (!frames) return say("The microphone gave no sound.", true);
    take({ blob: encodeWav([whole], context.sampleRate), name: "recording.wav" });
  };
  node.port.onmessage = ({ data }) => {
    if (!recording) return;
    blocks.push(data);
    frames += data.length;
    $("level").value = Math.max($("level").value * 0.98, ...data.map(Math.abs));
    $("clock").textContent = seconds(frames / context.sampleRate);
    if (frames >= most) recording();
  };
  context.createMediaStreamSource(stream).connect(node).connect(context.destination);
  show(true);
  say("Recording.");
});
