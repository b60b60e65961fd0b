// Chooses an avatar, plays the sample, and holds picture and sound to each other. Usage: node page.mjs URL. Exit
// status 0 if all is well; figures go to stdout as JSON.

import assert from "node:assert/strict";
import { drawn, open, told, until, wake, watch, withChromium } from "./browser.mjs";

const [url] = process.argv.slice(2);

await withChromium(async (browser) => {
  const { page, complaints } = await open(browser, url);
  await wake(page);
  await watch(page);
  // A walk over all backgrounds, for comparison.
  await page.waitForFunction(() => new Set(window.drawn.frames.map(({ background }) => background)).size >= 20);
  await page.keyboard.press("s");
  await until(page, "sound", "playing");
  await until(page, "sound", "ended");
  await told(page, "utterance_end");
  await page.waitForTimeout(500);
  const firstFrame = await page.textContent("#first-frame");
  const noted = await drawn(page);
  const sent = await page.evaluate(() => window.talk.frames.filter(({ kind }) => kind === "speech"));
  const loudness = await page.evaluate(sampleLoudness);

  // A stop silences it within a moment.
  await page.getByRole("button", { name: "Play the sample" }).click();
  await until(page, "sound", "playing");
  await page.keyboard.press("Escape");
  await until(page, "sound", "ended");
  await told(page, "interrupted");
  await until(page, "kind", "idle");

  assert.deepEqual(complaints, [], "no errors in the page");
  assert.match(firstFrame, /^\d+ ms$/, "the time of the first frame is shown");
  judge(noted, sent, loudness);
});

/** Runs in the page: how loud the sample is during each frame. */
async function sampleLoudness() {
  const bytes = await (await fetch("api/sample")).arrayBuffer();
  const audio = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
  const samples = audio.getChannelData(0);
  const loudness = [];
  for (let at = 0; at < samples.length; at += 640) {
    let sum = 0;
    for (const sample of samples.subarray(at, at + 640)) sum += sample * sample;
    loudness.push(Math.sqrt(sum / 640));
  }
  return loudness;
}

function judge({ frames, soundEnd, looksWhilePlaying }, sent, loudness) {
  const around = (place, reach) => loudness.slice(Math.max(place - reach, 0), place + reach + 1);
  const isLoud = (place) => Math.min(...around(place, 1)) > 0.05;
  // The network hears 8 frames to each side.
  const isSilent = (place) => Math.max(...around(place, 9)) < 0.004;
  const speech = frames.filter(({ kind }) => kind === "speech");
  const known = speech.filter(({ distance }) => distance !== null);
  const loud = known.filter(({ place }) => isLoud(place));
  const silent = known.filter(({ place }) => isSilent(place));
  const mean = (of) => of.reduce((sum, { distance }) => sum + distance, 0) / of.length;
  const figures = {
    spoken: loudness.length,
    sent: sent.length,
    drawn: speech.length,
    loudSent: sent.filter((frame) => isLoud(frame.utterance_frame)).length,
    loudDrawn: speech.filter(({ place }) => isLoud(place)).length,
    looksWhilePlaying,
    loud: loud.length,
    silent: silent.length,
    movementLoud: Math.round(mean(loud)),
    movementSilent: Math.round(mean(silent)),
    pictures: new Set(loud.map(({ picture }) => picture)).size,
    lastFrameBeforeSoundEndMs: Math.round(soundEnd - speech.at(-1).time),
  };
  console.log(JSON.stringify(figures));
  // An unoptimised server, or a machine with much else to do, leaves frames out, and a browser that gets no time looks
  // less often than frames come. Of what the server sent and the browser had the time for, the page draws most.
  const share = Math.min(1, looksWhilePlaying / sent.length);
  assert.ok(figures.sent >= 5, "speech was sent");
  assert.ok(figures.drawn >= 0.5 * share * figures.sent, "the page draws what it gets");
  assert.ok(figures.loudDrawn >= 0.4 * share * figures.loudSent, "the page draws the loud speech that it gets");
  assert.equal(figures.pictures, loud.length, "every frame of loud speech is another picture");
  if (loud.length >= 8 && silent.length >= 3) {
    assert.ok(figures.movementLoud > 1.2 * figures.movementSilent, "the mouth rests in the silence");
  }
  assert.ok(Math.abs(figures.lastFrameBeforeSoundEndMs) < 1000, "picture and sound end together");
}
