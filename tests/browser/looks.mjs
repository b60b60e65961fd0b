// The page by keyboard alone, in light and dark, and in a narrow window. Usage: node looks.mjs URL [FOLDER], which
// gets screenshots.

import assert from "node:assert/strict";
import { join } from "node:path";
import { open, told, until, wake, withChromium } from "./browser.mjs";

const [url, folder] = process.argv.slice(2);
/** What WCAG 2 asks for text of normal size (AA). */
const CONTRAST = 4.5;

await withChromium(async (browser) => {
  await byKeyboard(browser);
  const light = await themed(browser, "light");
  const dark = await themed(browser, "dark");
  for (const what of ["background", "text"]) assert.notEqual(light[what], dark[what], `${what} of light and dark`);
  for (const width of [390, 320]) await narrow(browser, width);
}, ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]);

/** Tab until the element with that id has the focus, which must be seen. */
async function tabTo(page, id) {
  for (let tabs = 0; tabs < 20; tabs += 1) {
    await page.keyboard.press("Tab");
    const focus = await page.evaluate(() => {
      const element = document.activeElement;
      // Controls that are drawn by their label show the focus there.
      const drawn = element.closest("label") ?? element;
      const { outlineStyle, outlineWidth, outlineColor } = getComputedStyle(drawn);
      const { left, top, right, bottom } = drawn.getBoundingClientRect();
      const inside = left >= 0 && right <= innerWidth && bottom > top;
      return { id: element.id || element.value, outlineStyle, outlineWidth, outlineColor, inside };
    });
    if (focus.id === undefined || focus.id === "") continue;
    assert.notEqual(focus.outlineStyle, "none", `the focus on ${focus.id} is seen`);
    assert.ok(parseFloat(focus.outlineWidth) >= 1 && !focus.outlineColor.endsWith(", 0)"), focus.id);
    assert.ok(focus.inside, `${focus.id} is in the window`);
    if (focus.id === id) return;
  }
  assert.fail(`Tab does not come to ${id}`);
}

async function byKeyboard(browser) {
  const { page, complaints } = await open(browser, url);
  await page.getByRole("radio").first().waitFor({ state: "attached" });
  const first = await page.getByRole("radio").first().inputValue();
  await tabTo(page, first);
  await page.keyboard.press("Space");
  await until(page, "kind", "idle");
  await tabTo(page, "sample");
  await page.keyboard.press("Enter");
  await until(page, "sound", "playing");
  await tabTo(page, "stop");
  await page.keyboard.press("Space");
  await until(page, "sound", "ended");
  await told(page, "interrupted");
  assert.equal(await page.evaluate(() => document.activeElement.id), "stop", "the focus stays");
  // A stop before the first frame holds as well.
  const before = await page.evaluate(() => window.talk.frames.length);
  await page.keyboard.press("s");
  await page.waitForFunction(() => window.talk.sent.at(-1) === "end_of_speech");
  await page.keyboard.press("Enter");
  await page.waitForFunction((before) => window.talk.frames.slice(before).filter(({ kind }) => kind === "idle").length >= 3, before);
  assert.notEqual(await page.evaluate(() => document.getElementById("canvas").dataset.sound), "playing");
  assert.deepEqual(complaints, [], "no errors in the page");
  await page.context().close();
}

async function themed(browser, colorScheme) {
  const { page, complaints } = await open(browser, url, { colorScheme, permissions: ["microphone"] });
  await page.getByRole("radio").first().waitFor({ state: "attached" });
  const shot = (name) => folder && page.screenshot({ path: join(folder, `${colorScheme}-${name}.png`), fullPage: true });
  const texts = [];
  const look = async (name, shown = []) => {
    await shot(name);
    for (const text of await page.evaluate(contrasts, shown)) texts.push({ name, ...text });
  };
  await look("start");
  await wake(page);
  await page.keyboard.press("s");
  await page.waitForFunction(() => !document.getElementById("caption").hidden);
  await look("speaking", ["caption"]);
  await page.keyboard.press("m");
  await page.waitForFunction(() => document.getElementById("microphone").getAttribute("aria-pressed") === "true");
  await page.evaluate(() => {
    for (const id of ["message", "refused"]) {
      document.getElementById(id).hidden = false;
      document.getElementById(id).textContent = "what went wrong";
    }
  });
  // Colours change over a moment.
  await page.waitForTimeout(500);
  await look("microphone");
  await page.evaluate(() => document.getElementById("login").showModal());
  await look("login");
  await page.evaluate(() => document.getElementById("login").close());
  for (const text of ["Choose an avatar", "Play the sample", "speaking", "Microphone is on", "what went wrong", "Continue"]) {
    assert.ok(texts.some((seen) => seen.text.includes(text)), `"${text}" was looked at`);
  }
  const poor = texts.filter(({ ratio }) => ratio < CONTRAST);
  assert.deepEqual(poor, [], `text that is hard to read in ${colorScheme}`);
  console.log(JSON.stringify({ colorScheme, texts: texts.length, leastContrast: Math.min(...texts.map((t) => t.ratio)) }));

  // The other theme may be chosen by hand, and is kept.
  const colours = () => page.evaluate(() => {
    const { backgroundColor, color } = getComputedStyle(document.body);
    return { background: backgroundColor, text: color };
  });
  const own = await colours();
  await page.click("#theme");
  const other = await colours();
  assert.notEqual(own.background, other.background);
  await page.reload();
  assert.deepEqual(await colours(), other);
  assert.deepEqual(complaints, [], "no errors in the page");
  await page.context().close();
  return own;
}

/** Runs in the page: the WCAG contrast of every text that is seen, these elements' too, but not of disabled controls. */
function contrasts(shown) {
  for (const id of shown) document.getElementById(id).hidden = false;
  const parse = (colour) => {
    const numbers = colour.match(/^rgba?\((.*)\)$/)[1].split(/[ ,/]+/).map(Number);
    return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
  };
  const over = ({ rgb, alpha }, below) => rgb.map((value, at) => value * alpha + below[at] * (1 - alpha));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    if (element === null) return [255, 255, 255];
    const own = parse(getComputedStyle(element).backgroundColor);
    if (own.alpha === 1) return own.rgb;
    // What lies on the picture lies on white at worst, as its text is white.
    const below = element.id === "caption" ? [255, 255, 255] : background(element.parentElement);
    return over(own, below);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim();
    const element = walker.currentNode.parentElement;
    if (text === "" || !element.checkVisibility()) continue;
    if (element.closest(":disabled, [data-disabled=true], label:has(:disabled)") !== null) continue;
    let opacity = 1;
    for (let at = element; at !== null; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const ground = background(element);
    const colour = parse(getComputedStyle(element).color);
    const [a, b] = [over({ ...colour, alpha: colour.alpha * opacity }, ground), ground].map(luminance);
    found.push({ text, ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) });
  }
  return found;
}

async function narrow(browser, width) {
  const { page, complaints } = await open(browser, url, { viewport: { width, height: 844 }, hasTouch: true, isMobile: true });
  await page.getByRole("radio").first().waitFor({ state: "attached" });
  const fits = async (when) => {
    const wide = await page.evaluate(() => ({
      page: document.scrollingElement.scrollWidth,
      window: document.documentElement.clientWidth,
      beyond: [...document.querySelectorAll("body *")]
        .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 0.5)
        .map((element) => element.id || element.tagName),
    }));
    assert.deepEqual(wide, { page: width, window: width, beyond: [] }, `no scrolling sideways ${when}`);
  };
  await fits("at the start");
  await wake(page);
  await page.evaluate(() => {
    document.getElementById("message").hidden = false;
    document.getElementById("message").textContent = `${"long_name".repeat(12)}.wav cannot be played`;
  });
  await fits("with an avatar and a long message");
  if (folder) await page.screenshot({ path: join(folder, `narrow-${width}.png`), fullPage: true });
  await page.evaluate(() => document.getElementById("login").showModal());
  await fits("with the token's dialog");
  assert.deepEqual(complaints, [], "no errors in the page");
  await page.context().close();
}
