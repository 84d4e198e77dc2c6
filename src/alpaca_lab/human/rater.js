/**
 * The blind rater's page. It draws `screen`, sends one press, and waits for the next screen.
 *
 * Model text enters the page by textContent alone, so that it is read and never run or typeset.
 * No framework and no network: what is shown is what the kernel sent.
 */

const PATIENCE_MS = 5000;
const LATE =
  "No answer from the kernel yet, so your last press may not be saved. A busy kernel goes on " +
  "by itself; after a restart, run this cell again.";

function make(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

/** Keep Jupyter's shortcuts off a node that can have the focus: it hears keys before they get here,
 * and looks for this from the focused node upwards, only as far as a selector of its own matches. */
const shield = (node) => node.setAttribute("data-lm-suppress-shortcuts", "true");

function button(name, text, { key, detail = "", press }) {
  const node = make("button", `alpaca-button ${name}`);
  node.type = "button";
  shield(node);
  node.setAttribute("aria-keyshortcuts", key);
  const sign = make("kbd", "alpaca-key", key);
  sign.setAttribute("aria-hidden", "true");
  node.append(sign, make("span", "alpaca-button-text", text));
  if (detail) node.append(make("span", "alpaca-detail", detail));
  node.addEventListener("click", press);
  return node;
}

/** A text of the study, as it is. What it lacks is said in italics, which no text can be. */
function passage({ label, text }) {
  const block = make("section", "alpaca-passage");
  const body = make("div", "alpaca-text", text);
  body.dir = "auto";
  if (!text.trim()) {
    const nothing = text ? "(nothing but white space)" : `(empty ${noun(label)})`;
    body.replaceChildren(make("em", "alpaca-nothing", nothing));
  }
  block.append(make("h4", "alpaca-label", label), body);
  return block;
}

const noun = (label) => (/^(instruction|input)$/i.test(label) ? label.toLowerCase() : "answer");

function progressText({ rated, skipped, of, minutes_left: minutes }) {
  const parts = [`${rated + skipped} of ${of}`];
  if (skipped) parts.push(`${skipped} skipped`);
  if (minutes !== null && rated + skipped < of) {
    parts.push(minutes < 1 ? "less than a minute left" : `about ${minutes} min left`);
  }
  return parts.join(", ");
}

/**
 * The key that was meant: a digit or a letter by its sign or, where the layout gives another sign
 * (French digits, Cyrillic letters), by its place.
 */
function keyOf(event) {
  if (/^[a-z0-9?]$/i.test(event.key)) return event.key.toLowerCase();
  return /^(?:Digit|Key)(.)$/.exec(event.code)?.[1].toLowerCase() ?? event.key;
}

/** Seconds that the page was really visible since `start`, to a tenth. */
function stopwatch() {
  let gone = 0;
  let since = null;
  const run = () => (since === null ? 0 : performance.now() - since);
  const follow = () => {
    gone += run();
    since = document.hidden ? null : performance.now();
  };
  document.addEventListener("visibilitychange", follow);
  return {
    start() {
      gone = 0;
      since = document.hidden ? null : performance.now();
    },
    seconds: () => Math.round((gone + run()) / 100) / 10,
    stop: () => document.removeEventListener("visibilitychange", follow),
  };
}

function render({ model, el }) {
  const watch = stopwatch();
  let item; // the one on the screen; undefined before the first drawing
  let waiting = false; // from a press until its answer
  let asking = false; // why to skip
  let late = null; // a timer
  let drawing = false;

  const root = make("div", "alpaca-rater tex2jax_ignore mathjax_ignore");
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Blind rater");
  shield(root);

  const top = make("header", "alpaca-top");
  const bar = make("div", "alpaca-bar");
  const filled = make("div", "alpaca-filled");
  const count = make("span", "alpaca-count");
  const keys = make("span", "alpaca-keys");
  const rubric = make("details", "alpaca-rubric");
  const stage = make("div", "alpaca-stage");
  const problem = make("p", "alpaca-problem");
  const controls = make("div", "alpaca-controls");
  const foot = make("footer", "alpaca-foot");

  bar.setAttribute("role", "progressbar");
  bar.setAttribute("aria-label", "Done");
  bar.append(filled);
  count.setAttribute("aria-live", "polite");
  problem.setAttribute("role", "alert");
  keys.append(
    make("span", "alpaca-keys-off", "Click here to use the keyboard"),
    make("span", "alpaca-keys-on", "Keyboard on: 1\u20135, U undo, S skip, ? guide"),
  );
  top.append(count, keys, bar);
  root.append(top, rubric, stage, problem, controls, foot);
  el.append(root);

  const hasFocus = () => root.contains(root.getRootNode().activeElement);
  const focus = () => root.focus({ preventScroll: true });
  const choices = () => [...controls.querySelectorAll(".alpaca-choice")];

  function press(message) {
    if (waiting) return;
    waiting = true;
    if (hasFocus()) focus(); // before its button is disabled, which would drop it
    for (const node of root.querySelectorAll("button")) node.disabled = true;
    late = setTimeout(() => say(LATE), PATIENCE_MS);
    try {
      model.send({ ...message, item });
    } catch {
      say(LATE);
    }
  }

  function say(sentence) {
    if (problem.textContent !== sentence) problem.textContent = sentence;
    problem.hidden = !sentence;
    if (sentence) problem.scrollIntoView({ block: "nearest" });
  }

  function drawProgress({ progress }) {
    const done = progress.rated + progress.skipped;
    const text = progressText(progress);
    if (count.textContent !== text) count.textContent = text;
    filled.style.width = `${progress.of ? (100 * done) / progress.of : 0}%`;
    bar.setAttribute("aria-valuemin", "0");
    bar.setAttribute("aria-valuemax", progress.of);
    bar.setAttribute("aria-valuenow", done);
  }

  function drawRubric({ rubric: parts, progress }) {
    rubric.open = progress.rated + progress.skipped === 0; // later it stays as its reader leaves it
    const list = make("dl", "alpaca-rules");
    for (const { heading, text } of parts) {
      list.append(make("dt", "alpaca-heading", heading), make("dd", "alpaca-rule", text));
    }
    const summary = make("summary", "alpaca-summary", "How to rate");
    shield(summary);
    rubric.replaceChildren(summary, list);
    rubric.hidden = !parts.length;
  }

  function drawTexts({ texts, answers, finished, item: next }) {
    if (next === null) {
      stage.replaceChildren(make("p", "alpaca-finished", finished || "Nothing is left to rate."));
      return;
    }
    const asked = make("div", "alpaca-asked");
    asked.append(...texts.map(passage));
    const given = make("div", `alpaca-answers alpaca-answers-${answers.length}`);
    given.append(...answers.map(passage));
    stage.replaceChildren(asked, given);
  }

  function drawControls({ question, levels, reasons, item: next, can_undo: canUndo }) {
    const title = make("h3", "alpaca-question", asking ? "Why skip this one?" : question);
    const list = make("div", asking ? "alpaca-reasons" : "alpaca-levels");
    list.setAttribute("role", "toolbar"); // arrows move, Enter or Space gives: nothing is checked
    list.setAttribute("aria-label", title.textContent);
    const offered = asking
      ? reasons.map((reason) => ({ label: reason, message: { kind: "skip", reason } }))
      : levels.map(({ label, detail }, place) => ({
          label,
          detail,
          message: { kind: "rate", level: place + 1 },
        }));
    offered.forEach(({ label, detail, message }, place) => {
      const give = () => press({ ...message, seconds: watch.seconds() });
      const node = button("alpaca-choice", label, { key: `${place + 1}`, detail, press: give });
      node.tabIndex = place ? -1 : 0;
      list.append(node);
    });
    controls.replaceChildren(...(next === null ? [] : [title, list]));

    const undo = button("alpaca-undo", "Undo", { key: "U", press: () => press({ kind: "undo" }) });
    const skip = asking
      ? button("alpaca-cancel", "Do not skip", { key: "Esc", press: () => ask(false) })
      : button("alpaca-skip", "Skip", { key: "S", press: () => ask(true) });
    undo.disabled = !canUndo;
    foot.replaceChildren(undo, ...(next === null ? [] : [skip]));
  }

  function ask(whether) {
    if (waiting || item === null) return;
    const focused = hasFocus();
    asking = whether;
    drawControls(model.get("screen"));
    if (focused) focus();
  }

  function draw() {
    drawing = false;
    const screen = model.get("screen");
    root.classList.toggle("alpaca-wide", screen.mode === "pairwise");
    const fresh = screen.item !== item;
    const focused = hasFocus();
    clearTimeout(late);
    waiting = false;
    asking = asking && !fresh;
    drawProgress(screen);
    if (item === undefined) drawRubric(screen);
    if (fresh) drawTexts(screen);
    drawControls(screen);
    say(model.get("problem"));
    if (focused) focus();
    if (!fresh) return;
    if (item !== undefined && !model.get("problem")) top.scrollIntoView({ block: "nearest" });
    item = screen.item;
    watch.start();
  }

  function drawSoon() {
    if (!drawing) queueMicrotask(draw); // an answer changes up to three traits at once
    drawing = true;
  }

  /** Move the highlight, which is the focus, by one choice; it enters at either end. */
  function move(by) {
    const all = choices();
    const here = all.indexOf(root.getRootNode().activeElement);
    const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : here + by;
    if (!all[next] || all[next].disabled) return;
    all.forEach((node, place) => (node.tabIndex = place === next ? 0 : -1));
    all[next].focus();
  }

  function onKey(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    const key = keyOf(event);
    if (event.shiftKey && key !== "?") return;
    if (event.repeat) {
      if (key === "Enter" || key === " ") event.preventDefault(); // a held key presses once
      return;
    }
    const onChoice = event.target.matches(".alpaca-choice");
    const acts = {
      ArrowLeft: () => move(-1),
      ArrowRight: () => move(1),
      u: () => foot.querySelector(".alpaca-undo").click(),
      s: () => ask(true),
      "?": () => (rubric.open = !rubric.open),
    };
    if (onChoice) Object.assign(acts, { ArrowUp: () => move(-1), ArrowDown: () => move(1) });
    if (asking) acts.Escape = () => ask(false);
    const act = /^[1-9]$/.test(key) ? () => choices()[key - 1]?.click() : acts[key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  const onClick = () => {
    if (!hasFocus()) focus();
  };
  const stop = (event) => event.stopPropagation();
  root.addEventListener("keydown", onKey);
  root.addEventListener("keyup", stop);
  root.addEventListener("keypress", stop);
  root.addEventListener("click", onClick);
  const changes = ["change:screen", "change:problem", "change:turn"];
  for (const change of changes) model.on(change, drawSoon);
  draw();

  return () => {
    clearTimeout(late);
    watch.stop();
    for (const change of changes) model.off(change, drawSoon);
  };
}

export default { render };
