// Chromium decodes the PNG files of a folder, whose pixels must be those of the `.rgb` file beside each.
// Usage: node png.mjs FOLDER.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { withChromium } from "./browser.mjs";

const [folder] = process.argv.slice(2);
/** Never asked: what is fetched from it comes from the folder. */
const HOST = "http://localhost/";
const names = readdirSync(folder).filter((name) => name.endsWith(".png")).sort();
assert.ok(names.length > 0);

await withChromium(async (browser) => {
  const page = await (await browser.newContext()).newPage();
  await page.route(`${HOST}**`, (route) => {
    const name = new URL(route.request().url()).pathname.slice(1);
    return name === ""
      ? route.fulfill({ contentType: "text/html", body: "<!doctype html>" })
      : route.fulfill({ contentType: "image/png", body: readFileSync(join(folder, name)) });
  });
  await page.goto(HOST);
  const hashes = new Set();
  for (const name of names) {
    const rgb = readFileSync(join(folder, name.replace(/png$/, "rgb")));
    const hash = createHash("sha256").update(rgb).digest("hex");
    assert.equal(await page.evaluate(pixelHash, name), hash, name);
    hashes.add(hash);
  }
  assert.equal(hashes.size, names.length, "no two files have the same pixels");
  // A reader that takes anything would show nothing.
  const whole = readFileSync(join(folder, names[0]));
  await page.route(`${HOST}broken.png`, (route) => {
    const broken = Buffer.from(whole);
    broken[whole.length >> 1] ^= 1;
    return route.fulfill({ contentType: "image/png", body: broken });
  });
  const rgb = readFileSync(join(folder, names[0].replace(/png$/, "rgb")));
  const broken = await page.evaluate(pixelHash, "broken.png").catch(() => "refused");
  assert.notEqual(broken, createHash("sha256").update(rgb).digest("hex"), "a flipped bit is noticed");
  console.log(JSON.stringify({ decoded: names.length }));
});

/** Runs in the page: SHA-256 of the RGB bytes of a picture, as drawn on a canvas. */
async function pixelHash(name) {
  const blob = await (await fetch(name)).blob();
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    if (rgba[from + 3] !== 255) throw new Error("it is not opaque");
    rgb.set(rgba.subarray(from, from + 3), to);
  }
  const hash = await crypto.subtle.digest("SHA-256", rgb);
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
