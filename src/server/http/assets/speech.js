// Where speech comes from: a file, or the microphone. Always mono samples at the audio context's own rate.

/** Decodes a file that the browser knows and mixes it to mono. */
export async function decode(audio, bytes) {
  const decoded = await audio.decodeAudioData(bytes);
  const mono = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel += 1) {
    const samples = decoded.getChannelData(channel);
    for (let at = 0; at < mono.length; at += 1) mono[at] += samples[at] / decoded.numberOfChannels;
  }
  return mono;
}

/** Opens the microphone; `take` gets chunks of 20 ms until the returned function is called. */
export async function listen(audio, take) {
  // Browsers hide microphones from pages that somebody on the way could have changed.
  if (!window.isSecureContext) throw new Error("open the page over HTTPS, or on the server's own machine as localhost");
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
  });
  try {
    await audio.audioWorklet.addModule("recorder.js");
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    throw error;
  }
  const source = audio.createMediaStreamSource(stream);
  const recorder = new AudioWorkletNode(audio, "recorder", { numberOfOutputs: 0 });
  recorder.port.onmessage = ({ data }) => take(data);
  source.connect(recorder);
  return () => {
    recorder.port.onmessage = null;
    source.disconnect();
    stream.getTracks().forEach((track) => track.stop());
  };
}
