// What the browser tests share: Chromium, and what is noted about a page while it is driven.

import { chromium } from "playwright-core";

/** Nothing takes as long on a busy machine; reached only when something hangs. */
export const PATIENCE = 90_000;

/** Runs `test` with Chromium, whatever comes of it. */
export async function withChromium(test, args = []) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", ...args,
    ],
  });
  try {
    await test(browser);
  } finally {
    await browser.close();
  }
}

/** A page at `url`, and the list that its errors will be in. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.addInitScript(overhear);
  await page.goto(url);
  return { page, complaints };
}

/** Waits until the canvas says so of what is drawn or heard: `kind`, `sound`. */
export function until(page, key, value) {
  return page.waitForFunction(([key, value]) => document.getElementById("canvas").dataset[key] === value, [key, value]);
}

/** Wakes the first avatar, which is idle then. */
export async function wake(page) {
  await page.getByRole("radio").first().check({ force: true });
  await until(page, "kind", "idle");
}

/** Waits for the `count`th text message of that type from the server; gives it. */
export async function told(page, type, count = 1) {
  const found = await page.waitForFunction(
    ([type, count]) => window.talk.texts.filter((text) => text.type === type)[count - 1], [type, count]);
  return found.jsonValue();
}

/** Runs in the page, before its own scripts: keeps the headers of all frames, and the texts of both sides. */
function overhear() {
  const talk = { frames: [], texts: [], sent: [], sockets: [] };
  window.talk = talk;
  window.WebSocket = class extends WebSocket {
    constructor(...where) {
      super(...where);
      talk.sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string") return talk.texts.push(JSON.parse(data));
        const length = new DataView(data).getUint32(0, true);
        talk.frames.push(JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))));
      });
    }

    send(message) {
      talk.sent.push(typeof message === "string" ? JSON.parse(message).type : "audio");
      super.send(message);
    }
  };
}

/** Notes from now on every frame that is drawn: see `record`. */
export const watch = (page) => page.evaluate(record);

/** What was noted so far. */
export const drawn = (page) => page.evaluate(() => window.drawn);

/** Runs in the page: notes every drawn frame, and how far it is from the same background at rest. */
function record() {
  const canvas = document.getElementById("canvas");
  const small = new OffscreenCanvas(160, 90).getContext("2d", { willReadFrequently: true });
  const rest = new Map();
  const noted = { frames: [], soundEnd: null, looksWhilePlaying: 0 };
  window.drawn = noted;
  let before = "";
  let playing = false;
  const look = () => {
    const { kind, frame, background, sound } = canvas.dataset;
    if (sound === "ended" && playing) noted.soundEnd ??= performance.now();
    playing = sound === "playing";
    if (playing) noted.looksWhilePlaying += 1;
    const now = `${kind}${frame}/${background}`;
    if (now !== before) {
      before = now;
      small.drawImage(canvas, 0, 0, 160, 90);
      const pixels = small.getImageData(0, 0, 160, 90).data;
      const still = rest.get(background);
      let distance = null;
      if (still !== undefined) {
        distance = 0;
        for (let at = 0; at < pixels.length; at += 4) {
          distance += Math.abs(pixels[at] - still[at]) + Math.abs(pixels[at + 1] - still[at + 1])
            + Math.abs(pixels[at + 2] - still[at + 2]);
        }
      }
      if (kind === "idle") rest.set(background, pixels);
      // A picture's number: the same for the same pixels, by FNV-1a.
      let picture = 0x811c9dc5;
      for (const byte of pixels) picture = Math.imul(picture ^ byte, 0x01000193);
      const place = kind === "speech" ? Number(frame.split(":")[1]) : null;
      noted.frames.push({ time: performance.now(), kind, place, background, distance, picture });
    }
    requestAnimationFrame(look);
  };
  look();
}
