// Opens the page of a server that asks for a token. Usage: node token.mjs URL TOKEN.

import assert from "node:assert/strict";
import { open, until, wake, withChromium } from "./browser.mjs";

const [url, token] = process.argv.slice(2);

await withChromium(async (browser) => {
  const { page, complaints } = await open(browser, url);
  const dialog = page.locator("#login");
  const refused = page.locator("#refused");
  await dialog.waitFor();
  assert.equal(await page.textContent("#server"), "token needed");
  assert.ok(await refused.isHidden(), "nothing was wrong yet");
  assert.equal(await page.evaluate(() => document.activeElement.id), "token", "one can type at once");

  // It cannot be left out.
  await page.keyboard.press("Escape");
  assert.ok(await dialog.isVisible());
  await page.keyboard.press("Enter");
  assert.ok(await dialog.isVisible());

  for (const wrong of ["not the token at all", "märchenhaft ☃"]) {
    await page.fill("#token", wrong);
    await page.keyboard.press("Enter");
    await refused.waitFor();
    const said = await refused.textContent();
    if (wrong.startsWith("not")) assert.equal(said, "The server does not know this token.");
    else assert.match(said, /cannot be tried/);
    assert.ok(await dialog.isVisible(), "and it is asked for again");
    assert.equal(await page.getByRole("radio").count(), 0, "nothing of the server is shown");
    assert.equal(await page.evaluate(() => sessionStorage.getItem("token")), null);
  }

  await page.fill("#token", ` ${token} `);
  await page.getByRole("button", { name: "Continue" }).click();
  await dialog.waitFor({ state: "hidden" });
  await wake(page);
  await page.keyboard.press("s");
  await until(page, "sound", "playing");
  await page.waitForFunction(() => document.getElementById("canvas").dataset.kind === "speech");

  // It is kept for this tab ...
  await page.reload();
  await wake(page);
  assert.ok(await dialog.isHidden());
  // ... until the server does not know it any more.
  await page.evaluate(() => sessionStorage.setItem("token", "one of yesterday"));
  await page.reload();
  await refused.waitFor();
  assert.equal(await refused.textContent(), "The server does not know this token.");

  // Without a token, or with a wrong one, there is no conversation either, page or not.
  for (const wrong of [undefined, "not the token at all"]) {
    const answer = await page.evaluate((token) => new Promise((done) => {
      const socket = new WebSocket(new URL("api/talk", location.href.replace("http", "ws")));
      socket.onopen = () => socket.send(JSON.stringify({ type: "start", model_id: "sanders", token }));
      socket.onmessage = ({ data }) => done(JSON.parse(data));
    }), wrong);
    assert.equal(answer.type, "error");
    assert.match(answer.message, /token/);
  }
  const unexpected = complaints.filter((complaint) => !complaint.includes("401"));
  assert.deepEqual(unexpected, [], "no errors in the page but the refusals");
});
