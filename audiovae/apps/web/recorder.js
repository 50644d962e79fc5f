"use strict";
// Runs where sound is made: hands on what the microphone hears, and plays nothing.
registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([input]) {
    if (input.length) this.port.postMessage(input[0].slice());
    return true;
  }
});
