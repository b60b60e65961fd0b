// Talks into the microphone, which is a file to Chromium, and drops a speech file. Usage: node microphone.mjs URL WAV.

import assert from "node:assert/strict";
import { drawn, open, told, until, wake, watch, withChromium } from "./browser.mjs";

const [url, wav] = process.argv.slice(2);

await withChromium(async (browser) => {
  const { page, complaints } = await open(browser, url, { permissions: ["microphone"] });
  await dropsNeedAnAvatar(page);
  await wake(page);
  await watch(page);
  await page.waitForFunction(() => new Set(window.drawn.frames.map(({ background }) => background)).size >= 20);

  await theMouthFollowsTheMicrophone(page);
  await aFileIsDropped(page);
  await aLostConnectionClosesTheMicrophone(page);
  assert.deepEqual(complaints, [], "no errors in the page");
}, [
  "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", `--use-file-for-fake-audio-capture=${wav}`,
]);

async function theMouthFollowsTheMicrophone(page) {
  const microphone = page.locator("#microphone");
  await microphone.click();
  await page.waitForFunction(() => document.getElementById("microphone").getAttribute("aria-pressed") === "true");
  // Until enough of the file was heard, however few frames of it a busy machine shows.
  await page.waitForFunction(() => {
    const speech = window.drawn.frames.filter(({ kind, distance }) => kind === "speech" && distance !== null);
    return speech.length >= 12 && speech.at(-1).place >= 100;
  });
  await microphone.click();
  const end = await told(page, "utterance_end");
  await until(page, "kind", "idle");
  await page.waitForFunction(() => {
    const { frames } = window.drawn;
    return frames.slice(frames.findLastIndex(({ kind }) => kind === "speech") + 1).length >= 5;
  });
  const { frames } = await drawn(page);
  const sent = await page.evaluate(() => window.talk.sent);
  const speech = frames.filter(({ kind, distance }) => kind === "speech" && distance !== null);
  const after = frames.slice(frames.findLastIndex(({ kind }) => kind === "speech") + 1);
  const far = Math.max(...speech.map(({ distance }) => distance));
  console.log(JSON.stringify({ microphone: { frames: end.frames, drawn: speech.length, far } }));
  assert.equal(await microphone.getAttribute("aria-pressed"), "false");
  assert.equal(sent.filter((type) => type === "end_of_speech").length, 1, "turning it off ends the utterance");
  assert.equal(sent.at(-1), "end_of_speech", "nothing is heard after that");
  assert.equal(end.utterance, 0);
  assert.ok(end.frames >= 100, "what the microphone heard was spoken");
  const pictures = new Set(speech.map(({ picture }) => picture));
  assert.ok(pictures.size >= 0.8 * speech.length, "the pictures differ");
  // The same backgrounds, whatever is heard, would all be as far from rest.
  const near = Math.min(...speech.map(({ distance }) => distance));
  assert.ok(far > 1.5 * near, `the mouth opens and closes: ${near} to ${far}`);
  for (const { distance } of after) {
    assert.ok(distance === null || distance === 0, "the face is at rest again, to the pixel");
  }
  assert.ok(after.some(({ distance }) => distance === 0));
}

/** Drops a file on an element, as a hand does. */
async function drop(page, where, name, type) {
  const files = await page.evaluateHandle(async ([name, type]) => {
    const bytes = name.endsWith(".flac") ? await (await fetch("api/sample")).arrayBuffer() : "no speech at all";
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type }));
    return transfer;
  }, [name, type]);
  await page.dispatchEvent(where, "dragover", { dataTransfer: files });
  assert.ok(await page.evaluate(() => document.getElementById("stage").classList.contains("drop")), "it shows where");
  await page.dispatchEvent(where, "drop", { dataTransfer: files });
  assert.ok(!await page.evaluate(() => document.getElementById("stage").classList.contains("drop")));
}

async function dropsNeedAnAvatar(page) {
  await page.getByRole("radio").first().waitFor({ state: "attached" });
  await drop(page, "#stage", "speech.flac", "audio/flac");
  assert.match(await page.textContent("#message"), /speech\.flac.*choose an avatar first/);
}

async function aFileIsDropped(page) {
  await drop(page, "#stage", "notes.txt", "text/plain");
  await page.waitForFunction(() => !document.getElementById("message").hidden);
  assert.match(await page.textContent("#message"), /^notes\.txt cannot be played: /);

  const before = await page.evaluate(() => window.talk.frames.length);
  await drop(page, "#stage", "speech.flac", "audio/flac");
  await until(page, "sound", "playing");
  await page.waitForFunction(() => document.getElementById("canvas").dataset.kind === "speech");
  assert.ok(await page.locator("#message").isHidden(), "the complaint is gone");
  const utterances = await page.evaluate(
    (before) => window.talk.frames.slice(before).map(({ utterance }) => utterance).filter((u) => u !== undefined), before);
  assert.deepEqual([...new Set(utterances)], [1], "the file is the second utterance");
  await page.locator("#stop").click();
  await until(page, "sound", "ended");
  await told(page, "interrupted");
  // Anywhere else on the page it is taken as well, instead of being opened by the browser.
  await drop(page, "aside", "speech.flac", "audio/flac");
  await until(page, "sound", "playing");
  await page.keyboard.press("Escape");
  await told(page, "interrupted", 2);
}

async function aLostConnectionClosesTheMicrophone(page) {
  await page.keyboard.press("m");
  await page.waitForFunction(() => document.getElementById("microphone").getAttribute("aria-pressed") === "true");
  await page.evaluate(() => window.talk.sockets.at(-1).close());
  await page.waitForFunction(() => document.getElementById("microphone").getAttribute("aria-pressed") === "false");
  assert.ok(await page.locator("#microphone").isDisabled());
  assert.match(await page.textContent("#hint"), /over/);
  // And the next conversation counts from the start.
  await wake(page);
  const before = await page.evaluate(() => window.talk.frames.length);
  await page.keyboard.press("s");
  await until(page, "sound", "playing");
  const first = await page.evaluate(
    (before) => window.talk.frames.slice(before).find(({ kind }) => kind === "speech").utterance, before);
  assert.equal(first, 0);
}
