// Drives the page in headless Chromium: chooses an avatar by keyboard, plays the sample, and holds picture and sound
// to each other. Usage: node page.mjs URL [SCREENSHOT]. Exit status 0 if all is well; figures go to stdout as JSON.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [url, screenshot] = process.argv.slice(2);
/** Nothing takes as long on a busy machine; reached only when something hangs. */
const PATIENCE = 90_000;

const profile = await mkdtemp(join(tmpdir(), "lipsync-page-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1280, height: 860 },
  colorScheme: "light",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
try {
  const figures = await drive(await browser.newPage());
  console.log(JSON.stringify(figures));
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}

async function drive(page) {
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.setDefaultTimeout(PATIENCE);
  await page.goto(url);

  // By keyboard alone: the first avatar, then the sample.
  const avatar = page.getByRole("radio").first();
  await avatar.focus();
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.getElementById("canvas").dataset.kind === "idle");
  await page.evaluate(record);
  // A walk over all backgrounds, for comparison.
  await page.waitForTimeout(4500);
  await page.keyboard.press("s");
  const sound = (state) => page.waitForFunction(
    (state) => document.getElementById("canvas").dataset.sound === state, state);
  await sound("playing");
  await page.waitForTimeout(2500);
  if (screenshot !== undefined) await page.screenshot({ path: screenshot });
  await sound("ended");
  await page.waitForTimeout(1500);
  const firstFrame = await page.textContent("#first-frame");
  const { frames, soundEnd, loudness } = await page.evaluate(() => window.recorded());

  // A stop silences it within a moment.
  await page.getByRole("button", { name: "Play the sample" }).click();
  await sound("playing");
  await page.keyboard.press("Escape");
  await sound("ended");
  await page.waitForFunction(() => document.getElementById("canvas").dataset.kind === "idle");

  assert.deepEqual(complaints, [], "no errors in the page");
  assert.match(firstFrame, /^\d+ ms$/, "the time of the first frame is shown");
  return judge(frames, soundEnd, loudness);
}

/** Runs in the page: notes every drawn frame, and how far it is from the same background at rest. */
function record() {
  const canvas = document.getElementById("canvas");
  const small = new OffscreenCanvas(160, 90).getContext("2d", { willReadFrequently: true });
  const rest = new Map();
  const frames = [];
  let before = "";
  let soundEnd = null;
  let playing = false;
  const look = () => {
    const { kind, frame, background, sound } = canvas.dataset;
    if (sound === "ended" && playing) soundEnd ??= performance.now();
    playing = sound === "playing";
    const now = `${kind}${frame}/${background}`;
    if (now !== before) {
      before = now;
      small.drawImage(canvas, 0, 0, 160, 90);
      const pixels = small.getImageData(0, 0, 160, 90).data;
      if (kind === "idle") rest.set(background, pixels);
      else {
        const still = rest.get(background);
        let distance = null;
        if (still !== undefined) {
          distance = 0;
          for (let at = 0; at < pixels.length; at += 4) {
            distance += Math.abs(pixels[at] - still[at]) + Math.abs(pixels[at + 1] - still[at + 1])
              + Math.abs(pixels[at + 2] - still[at + 2]);
          }
        }
        frames.push({ time: performance.now(), place: Number(frame.split(":")[1]), distance, picture: pixels.join() });
      }
    }
    requestAnimationFrame(look);
  };
  look();
  window.recorded = async () => {
    const bytes = await (await fetch("api/sample")).arrayBuffer();
    const audio = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
    const samples = audio.getChannelData(0);
    const loudness = [];
    for (let at = 0; at < samples.length; at += 640) {
      let sum = 0;
      for (const sample of samples.subarray(at, at + 640)) sum += sample * sample;
      loudness.push(Math.sqrt(sum / 640));
    }
    return { frames, soundEnd, loudness };
  };
}

function judge(frames, soundEnd, loudness) {
  const around = (place, reach) => loudness.slice(Math.max(place - reach, 0), place + reach + 1);
  const known = frames.filter((frame) => frame.distance !== null);
  const loud = known.filter(({ place }) => Math.min(...around(place, 1)) > 0.05);
  // The network hears 8 frames to each side.
  const silent = known.filter(({ place }) => Math.max(...around(place, 9)) < 0.004);
  const mean = (of) => of.reduce((sum, frame) => sum + frame.distance, 0) / of.length;
  const figures = {
    drawn: frames.length,
    spoken: loudness.length,
    loud: loud.length,
    silent: silent.length,
    movementLoud: Math.round(mean(loud)),
    movementSilent: Math.round(mean(silent)),
    pictures: new Set(loud.map((frame) => frame.picture)).size,
    lastFrameBeforeSoundEndMs: Math.round(soundEnd - frames.at(-1).time),
  };
  console.error(JSON.stringify(figures));
  // An unoptimised build, or a machine with much else to do, leaves frames out; those that come must be right.
  assert.ok(frames.length >= 5, "speech was drawn");
  assert.equal(figures.pictures, loud.length, "every frame of loud speech is another picture");
  if (loud.length >= 8 && silent.length >= 3) {
    assert.ok(figures.movementLoud > 1.2 * figures.movementSilent, "the mouth rests in the silence");
  }
  assert.ok(Math.abs(figures.lastFrameBeforeSoundEndMs) < 1000, "picture and sound end together");
  return figures;
}
