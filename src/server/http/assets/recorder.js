// Runs beside the page's thread: gathers the microphone's samples, mixed to mono, into chunks of 20 ms.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Float32Array(Math.round(sampleRate / 50));
    this.filled = 0;
  }

  process([channels]) {
    const samples = channels[0]?.length ?? 0;
    for (let at = 0; at < samples; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.chunk[this.filled] = sum / channels.length;
      this.filled += 1;
      if (this.filled === this.chunk.length) {
        this.port.postMessage(this.chunk);
        this.chunk = new Float32Array(this.chunk.length);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
