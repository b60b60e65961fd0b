// One conversation: a socket to the server, and a picture that keeps time with the sound.
//
// The audio context is the only clock. Each frame comes with its moment in the stream; DELAY later, measured on that
// clock, it is drawn. The sound of an utterance starts so that its frame 0 is drawn when sample 0 is heard.

/** What arrives within this time is drawn in time, in seconds. */
const DELAY = 0.16;
/** Sound and picture further apart than this are put together again, in seconds. */
const SLIP = 0.06;
/** Frames that wait to be drawn, at most. */
const QUEUE = 100;
/** Bytes of audio under way to the server, at most. */
const UNSENT = 1 << 18;

export class Conversation extends EventTarget {
  #audio;
  #canvas;
  #context;
  #socket = null;
  #frames = [];
  #base = null;
  #fps = 25;
  #utterance = 0;
  // First utterance that was not interrupted.
  #wanted = 0;
  // Whether the server has audio of an utterance that it does not know the end of.
  #open = false;
  #slot = null;
  #sounds = new Map();
  #playing = null;
  #outbox = [];
  #asked = null;
  #drawn = [];

  constructor(audio, canvas) {
    super();
    this.#audio = audio;
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
  }

  /** Opens the stream and draws until it is closed. */
  open(modelId, token) {
    const url = new URL("api/talk", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    let heard = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () =>
      socket.send(JSON.stringify({
        type: "start",
        model_id: modelId,
        token,
        sample_format: "f32le",
        sample_rate_hz: this.#audio.sampleRate,
        output_format: "jpeg",
        jpeg_quality: 88,
        realtime: true,
      }));
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      heard = true;
      if (typeof data === "string") this.#event(JSON.parse(data));
      else this.#frame(data);
    };
    socket.onclose = () => {
      if (this.#socket !== socket) return;
      this.close();
      this.#tell("closed", { heard });
    };
    this.#socket = socket;
    const step = () => {
      if (this.#socket !== socket) return;
      this.#draw();
      this.#send();
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** Leaves; nothing of the stream remains. */
  close() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    this.#silence();
    this.#frames.forEach(({ bitmap }) => bitmap?.close());
    this.#frames = [];
    this.#outbox = [];
    this.#sounds.clear();
    this.#base = null;
    this.#utterance = 0;
    this.#wanted = 0;
    this.#open = false;
    this.#slot = null;
    this.#asked = null;
    for (const name of ["kind", "frame", "background"]) delete this.#canvas.dataset[name];
  }

  /** A whole utterance, heard while it is shown. */
  say(samples) {
    if (this.#socket === null) return;
    const sound = this.#audio.createBuffer(1, Math.max(samples.length, 1), this.#audio.sampleRate);
    sound.copyToChannel(samples, 0);
    this.#sounds.set(this.#utterance, sound);
    // Small chunks, so that a stop need not wait for much.
    const chunk = Math.round(this.#audio.sampleRate / 5);
    for (let at = 0; at < samples.length; at += chunk) this.hear(samples.subarray(at, at + chunk));
    this.endOfSpeech();
  }

  /** More of an utterance that is only shown. */
  hear(samples) {
    if (this.#socket === null) return;
    this.#asked ??= { utterance: this.#utterance, time: performance.now() };
    this.#outbox.push(samples.slice().buffer);
    this.#send();
  }

  endOfSpeech() {
    if (this.#socket === null) return;
    this.#outbox.push(JSON.stringify({ type: "end_of_speech" }));
    this.#utterance += 1;
    this.#send();
  }

  /** Silence at once. */
  interrupt() {
    if (this.#socket === null) return;
    // Audio that did not leave is dropped; the marks in it count all the same, here and on the server.
    const marks = this.#outbox.filter((message) => typeof message === "string");
    this.#outbox = [...marks, JSON.stringify({ type: "interrupt" })];
    // The server counts the utterance that an interrupt cuts, if it has heard of it.
    if (marks.length === 0 && this.#open) this.#utterance += 1;
    this.#wanted = this.#utterance;
    this.#asked = null;
    this.#sounds.clear();
    this.#silence();
    this.#send();
  }

  /** Frames drawn in the last second. */
  rate() {
    const since = performance.now() - 1000;
    this.#drawn = this.#drawn.filter((time) => time > since);
    return this.#drawn.length;
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #send() {
    const socket = this.#socket;
    while (socket?.readyState === WebSocket.OPEN && this.#outbox.length > 0 && socket.bufferedAmount < UNSENT) {
      const message = this.#outbox.shift();
      this.#open = typeof message !== "string";
      socket.send(message);
    }
  }

  #event(event) {
    if (event.type === "started") {
      this.#fps = event.fps;
      this.#canvas.width = event.width;
      this.#canvas.height = event.height;
    }
    this.#tell(event.type, event);
  }

  #frame(data) {
    const length = new DataView(data).getUint32(0, true);
    const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    frame.bitmap = null;
    const time = frame.time_us / 1e6;
    // The least delay seen is the network's own. It is measured anew where no sound depends on it.
    const base = this.#audio.currentTime - time;
    const measure = this.#base === null || base < this.#base || base > this.#base + DELAY;
    if (measure && this.#playing === null) this.#base = base;
    frame.due = this.#base + time + DELAY;
    const slot = Math.round(time * this.#fps);
    if (this.#slot !== null && slot > this.#slot + 1) this.#tell("leftout", { frames: slot - this.#slot - 1 });
    this.#slot = slot;
    if (frame.kind === "speech" && frame.utterance >= this.#wanted) {
      if (this.#asked !== null && frame.utterance >= this.#asked.utterance) {
        this.#tell("firstframe", { milliseconds: performance.now() - this.#asked.time });
        this.#asked = null;
      }
      this.#sound(frame);
    }
    this.#frames.push(frame);
    if (this.#frames.length > QUEUE) this.#frames.shift().bitmap?.close();
    const picture = new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" });
    createImageBitmap(picture).then(
      (bitmap) => { frame.bitmap = bitmap; },
      (error) => this.#tell("error", { message: `a frame cannot be shown: ${error.message}` }),
    );
  }

  /** Starts the sound that goes with a frame, or puts it where the frame is. */
  #sound(frame) {
    const sound = this.#sounds.get(frame.utterance);
    if (sound === undefined) return;
    const start = frame.due - frame.utterance_frame / this.#fps;
    if (this.#playing?.utterance === frame.utterance && Math.abs(this.#playing.start - start) < SLIP) return;
    this.#silence();
    const source = this.#audio.createBufferSource();
    source.buffer = sound;
    source.connect(this.#audio.destination);
    const now = this.#audio.currentTime;
    source.start(Math.max(start, now), Math.max(now - start, 0));
    source.onended = () => {
      if (this.#playing?.source !== source) return;
      this.#sounds.delete(frame.utterance);
      this.#playing = null;
      this.#canvas.dataset.sound = "ended";
      this.#tell("silent", {});
    };
    this.#playing = { utterance: frame.utterance, start, source };
    this.#canvas.dataset.sound = "playing";
  }

  #silence() {
    if (this.#playing === null) return;
    this.#playing.source.onended = null;
    this.#playing.source.stop();
    this.#playing = null;
    this.#canvas.dataset.sound = "ended";
  }

  #draw() {
    // What is heard now left the context this much earlier.
    const now = this.#audio.currentTime - (this.#audio.outputLatency || 0);
    let next = null;
    while (this.#frames.length > 0 && this.#frames[0].due <= now) {
      const frame = this.#frames[0];
      // One that is still being decoded may be a moment late, unless another is due already.
      if (frame.bitmap === null && !(this.#frames[1]?.due <= now)) break;
      this.#frames.shift();
      if (frame.bitmap === null) continue;
      const unwanted = frame.kind === "speech" && frame.utterance < this.#wanted;
      (unwanted ? frame : next)?.bitmap.close();
      next = unwanted ? next : frame;
    }
    if (next === null) return;
    this.#context.drawImage(next.bitmap, 0, 0, this.#canvas.width, this.#canvas.height);
    next.bitmap.close();
    this.#drawn.push(performance.now());
    const shown = this.#canvas.dataset;
    shown.kind = next.kind;
    shown.frame = next.kind === "speech" ? `${next.utterance}:${next.utterance_frame}` : "";
    shown.background = next.background;
    this.#tell("drawn", next);
  }
}
