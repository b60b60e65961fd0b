// The page: what can be chosen, what is said, and the figures.

import { Conversation } from "./talk.js";
import { decode, listen } from "./speech.js";

const $ = (id) => document.getElementById(id);
/** Longest file that is said in one go, in bytes. */
const FILE_BYTES = 64 << 20;
/** Without speech for this long it does not speak, in milliseconds. */
const PAUSE = 400;
const UNKNOWN = "The server does not know this token.";

let audio = null;
let conversation = null;
let chosen = null;
let token = sessionStorage.getItem("token") ?? undefined;
let hush = null;
let opening = false;
let leftOut = 0;
let lastFrames = null;

// What the server says of itself.

async function look() {
  if ($("login").open) return;
  try {
    const answer = await ask(token);
    if (answer.status === 401) return login();
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    show(await answer.json());
  } catch (error) {
    state($("server"), "gone", "no answer");
    $("server").title = error.message;
    lastFrames = null;
  }
}

function ask(token) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return fetch("api/status", { headers, cache: "no-store" });
}

function login() {
  state($("server"), "waiting", "token needed");
  refuse(token === undefined ? null : UNKNOWN);
  token = undefined;
  sessionStorage.removeItem("token");
  $("token").value = "";
  $("login").showModal();
}

/** Takes the token that was typed, if the server does. */
async function enter(event) {
  event.preventDefault();
  refuse(null);
  const typed = $("token").value.trim();
  try {
    const answer = await ask(typed);
    if (answer.status === 401) {
      $("token").select();
      return refuse(UNKNOWN);
    }
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    token = typed;
    sessionStorage.setItem("token", token);
    $("login").close();
    show(await answer.json());
  } catch (error) {
    refuse(`The token cannot be tried: ${error.message}`);
  }
}

function refuse(text) {
  $("refused").hidden = text === null;
  $("refused").textContent = text ?? "";
}

function state(element, name, text) {
  element.dataset.state = name;
  element.lastElementChild.textContent = text;
}

function megabytes(bytes) {
  return bytes < 1 << 30 ? `${Math.round(bytes / (1 << 20))} MB` : `${(bytes / (1 << 30)).toFixed(2)} GB`;
}

function show(status) {
  state($("server"), status.ready ? "ready" : "waiting", status.ready ? "ready" : status.phase);
  const now = performance.now();
  if (lastFrames !== null) {
    const rate = (status.frames - lastFrames.frames) / ((now - lastFrames.time) / 1000);
    $("server-fps").textContent = Math.max(rate, 0).toFixed(1);
  }
  lastFrames = { frames: status.frames, time: now };
  $("streams").replaceChildren(String(status.streams), small(` of ${status.max_streams}`));
  $("memory").value = status.memory_bytes / status.max_memory_bytes;
  $("memory-text").textContent = `${megabytes(status.memory_bytes)} of ${megabytes(status.max_memory_bytes)}`;
  const loaded = status.models.filter((model) => model.loaded).length;
  $("models-text").textContent = `${loaded} loaded, ${status.max_models} fit`;
  $("models").replaceChildren(...status.models.map(row));
  $("engine").textContent = `lipsync ${status.version} · ${status.engine} ${status.engine_version}`;
  choices(status.models);
}

function small(text) {
  const element = document.createElement("small");
  element.textContent = text;
  return element;
}

function row(model) {
  const item = document.createElement("li");
  item.dataset.state = model.status;
  const dot = document.createElement("span");
  dot.className = "dot";
  const users = model.leases === 0 ? "" : `, in use by ${model.leases}`;
  const name = document.createElement("span");
  name.append(model.id, small(` ${model.status}${users}`));
  item.append(dot, name, small(model.loaded ? megabytes(model.memory_bytes) : ""));
  return item;
}

function choices(models) {
  const fieldset = $("avatars");
  const ids = models.map((model) => `${model.id}/${model.hears}`).join();
  if (fieldset.dataset.ids === ids) return;
  fieldset.dataset.ids = ids;
  const labels = models.map((model) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "avatar", value: model.id, disabled: !model.hears });
    input.checked = model.id === chosen;
    const face = document.createElement("span");
    face.className = "face";
    face.setAttribute("aria-hidden", "true");
    face.textContent = model.id.slice(0, 1);
    const label = document.createElement("label");
    if (!model.hears) label.title = "It has no audio encoder, so speech cannot drive it.";
    label.append(input, face, model.id);
    return label;
  });
  fieldset.replaceChildren(fieldset.firstElementChild, ...labels);
}

// The conversation.

async function choose(id) {
  complain(null);
  leave();
  chosen = id;
  hint(`Waking up ${id} …`);
  audio ??= new AudioContext({ latencyHint: "interactive" });
  try {
    await audio.resume();
  } catch (error) {
    complain(`there is no sound here: ${error.message}`);
  }
  conversation ??= connect();
  if (chosen === id) conversation.open(id, token);
}

function connect() {
  let spoke = -PAUSE;
  const made = new Conversation(audio, $("canvas"));
  made.addEventListener("started", ({ detail }) => {
    hint(null);
    enable(true);
    $("canvas").setAttribute("aria-label", `${chosen}, listening`);
    $("picture").replaceChildren(`${detail.width}×${detail.height}`);
    leftOut = 0;
    $("left-out").textContent = "0";
  });
  made.addEventListener("firstframe", ({ detail }) => {
    $("first-frame").replaceChildren(String(Math.round(detail.milliseconds)), small(" ms"));
  });
  made.addEventListener("drawn", ({ detail }) => {
    const now = performance.now();
    if (detail.kind === "speech") {
      spoke = now;
      $("caption").hidden = false;
      $("caption").textContent = "speaking";
    } else if (now - spoke > PAUSE) {
      // Single frames that came too late are no pause.
      $("caption").hidden = true;
    }
  });
  made.addEventListener("leftout", ({ detail }) => {
    leftOut += detail.frames;
    $("left-out").textContent = String(leftOut);
  });
  made.addEventListener("error", ({ detail }) => complain(detail.message));
  made.addEventListener("closed", ({ detail }) => {
    leave();
    hint("The conversation is over. Choose an avatar.");
    if (!detail.heard) complain(`${chosen} cannot be reached: the server is full, stopping or gone`);
    unchoose();
  });
  return made;
}

function unchoose() {
  chosen = null;
  $("canvas").setAttribute("aria-label", "No avatar chosen");
  document.querySelectorAll("#avatars input").forEach((input) => { input.checked = false; });
}

function leave() {
  hushMicrophone();
  conversation?.close();
  enable(false);
  $("caption").hidden = true;
}

function enable(on) {
  for (const id of ["sample", "microphone", "file", "stop"]) $(id).disabled = !on;
  $("upload").dataset.disabled = String(!on);
}

function hint(text) {
  $("hint").hidden = text === null;
  $("hint").textContent = text ?? "";
}

function complain(text) {
  $("message").hidden = text === null;
  $("message").textContent = text ?? "";
}

// What it says.

async function say(bytes, name) {
  complain(null);
  const speaker = chosen;
  try {
    const samples = await decode(audio, bytes);
    if (chosen !== speaker || chosen === null) return;
    hushMicrophone();
    conversation.say(samples);
  } catch (error) {
    complain(`${name} cannot be played: ${error.message}`);
  }
}

async function sayFile(file) {
  if (file === undefined) return;
  if (chosen === null) return complain(`nobody is awake to say ${file.name}: choose an avatar first`);
  if (file.size > FILE_BYTES) return complain(`${file.name} is larger than ${megabytes(FILE_BYTES)}: cut it`);
  await say(await file.arrayBuffer(), file.name);
}

async function saySample() {
  try {
    const answer = await fetch("api/sample");
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    await say(await answer.arrayBuffer(), "the sample");
  } catch (error) {
    complain(`the sample cannot be fetched: ${error.message}`);
  }
}

async function microphone() {
  if (hush !== null) return hushMicrophone();
  // The browser may ask the visitor first, who may choose another avatar meanwhile.
  if (opening) return;
  opening = true;
  complain(null);
  const listener = chosen;
  try {
    const close = await listen(audio, (samples) => conversation.hear(samples));
    if (chosen !== listener) return close();
    hush = close;
    $("microphone").setAttribute("aria-pressed", "true");
    $("microphone").textContent = "Microphone is on";
  } catch (error) {
    complain(`the microphone cannot be used: ${error.message}`);
  } finally {
    opening = false;
  }
}

function hushMicrophone() {
  if (hush === null) return;
  hush();
  hush = null;
  conversation.endOfSpeech();
  $("microphone").setAttribute("aria-pressed", "false");
  $("microphone").textContent = "Use the microphone";
}

function stop() {
  hushMicrophone();
  conversation?.interrupt();
  $("caption").hidden = true;
}

// Hands.

$("avatars").addEventListener("change", ({ target }) => choose(target.value));
$("sample").addEventListener("click", saySample);
$("microphone").addEventListener("click", microphone);
$("stop").addEventListener("click", stop);
$("file").addEventListener("change", async ({ target }) => {
  await sayFile(target.files[0]);
  target.value = "";
});
// A file may be dropped anywhere: beside the picture, the browser would leave the page for it.
const dropping = (on) => $("stage").classList.toggle("drop", on);
document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  dropping(true);
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) dropping(false);
});
document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  dropping(false);
  sayFile(event.dataTransfer.files[0]);
});
$("login").addEventListener("submit", enter);
// Nothing can be done here without a token.
$("login").addEventListener("cancel", (event) => event.preventDefault());
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=password]") || event.ctrlKey || event.metaKey || event.altKey;
  const button = { s: "sample", m: "microphone", u: "file", escape: "stop" }[event.key.toLowerCase()];
  if (typing || button === undefined || $("login").open) return;
  if (!$(button).disabled) $(button).click();
});
$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;

// A page that nobody sees keeps no avatar awake.
let away = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(away);
  if (!document.hidden || chosen === null) return;
  away = setTimeout(() => {
    leave();
    unchoose();
    hint("The avatar went to sleep. Choose it to wake it up.");
  }, 60_000);
});

setInterval(() => {
  $("fps").textContent = conversation === null || chosen === null ? "–" : String(conversation.rate());
}, 500);
async function watch() {
  await look();
  setTimeout(watch, 1000);
}
watch();
