/**
 * The chat's page. It sends a question or a stop, and draws what the kernel answers.
 *
 * Text enters the page by textContent alone, so that it is read and never run or typeset. No
 * framework and no network.
 */

const PATIENCE_MS = 5000;
const LATE =
  "No word from the kernel yet. A busy kernel goes on by itself; after a restart, run this cell " +
  "again.";
const FIELDS = [
  { name: "temperature", hint: "0 is greedy", blank: "greedy" },
  { name: "top_k", hint: "0 keeps all" },
  { name: "num_beams", hint: "1 is no search" },
  { name: "max_new_tokens", hint: "of an answer" },
  { name: "seed", hint: "of the noise" },
];

function make(tag, name, text = "") {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
}

/** Keep Jupyter's shortcuts off a node that can have the focus: it hears keys before they get here,
 * and looks for this from the focused node upwards, only as far as a selector of its own matches. */
const shield = (node) => node.setAttribute("data-lm-suppress-shortcuts", "true");

function button(name, text, press) {
  const node = make("button", `alpaca-chat-button ${name}`, text);
  node.type = "button";
  shield(node);
  node.addEventListener("click", press);
  return node;
}

/** A field under its label. */
function labelled(label, field, hint = "") {
  const block = make("label", "alpaca-chat-field");
  shield(field);
  block.append(make("span", "alpaca-chat-label", label), field);
  if (hint) block.append(make("span", "alpaca-chat-hint", hint));
  return block;
}

function area(rows) {
  const node = make("textarea", "alpaca-chat-area");
  node.rows = rows;
  node.dir = "auto";
  node.spellcheck = false;
  return node;
}

function fold(summary, ...inner) {
  const node = make("details", "alpaca-chat-fold");
  node.append(make("summary", "alpaca-chat-summary", summary), ...inner);
  return node;
}

function render({ model, el }) {
  const about = model.get("about");
  let waiting = false; // from a press until the kernel heard it
  let late = null; // a timer

  const root = make("div", "alpaca-chat tex2jax_ignore mathjax_ignore");
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Chat");
  shield(root);

  const instruction = area(2);
  instruction.placeholder = "What is to be done? Enter asks, Shift + Enter begins a new line.";
  const input = area(3);
  input.placeholder = "What it is to be done to, where the instruction needs it.";
  const fields = FIELDS.map(({ name, hint, blank }) => {
    const field = make("input", "alpaca-chat-number");
    field.type = "text";
    field.inputMode = "decimal";
    field.autocomplete = "off";
    field.dataset.name = name;
    field.placeholder = about.defaults[name] || blank;
    field.value = about.defaults[name];
    return { name, field, block: labelled(name, field, hint) };
  });
  const settings = make("div", "alpaca-chat-settings");
  settings.append(...fields.map(({ block }) => block));

  const ask = button("alpaca-chat-ask", "Ask", () => sendQuestion());
  const stop = button("alpaca-chat-stop", "Stop", () => send({ kind: "stop" }));
  const how = make("span", "alpaca-chat-how");
  const controls = make("div", "alpaca-chat-controls");
  controls.append(ask, stop, how);

  const problem = make("p", "alpaca-chat-problem");
  problem.setAttribute("role", "alert");
  const answer = make("div", "alpaca-chat-answer");
  answer.dir = "auto";
  const statistics = make("p", "alpaca-chat-statistics");
  statistics.setAttribute("aria-live", "polite");
  const prompt = make("pre", "alpaca-chat-prompt");
  prompt.dir = "auto";
  const read = fold("What the model read, template and all", prompt);
  const reply = make("section", "alpaca-chat-reply");
  reply.append(make("span", "alpaca-chat-label", "Answer"), answer, statistics, read);

  const head = make("header", "alpaca-chat-head");
  head.append(
    make("strong", "alpaca-chat-title", about.title),
    make("span", "alpaca-chat-place", about.place),
    make("p", "alpaca-chat-note", about.note),
  );
  root.append(
    head,
    labelled("Instruction", instruction),
    fold("Input (optional)", input),
    settings,
    controls,
    problem,
    reply,
  );
  shield(input);
  input.setAttribute("aria-label", "Input");

  function say(text) {
    problem.textContent = text;
    problem.hidden = !text;
  }

  function send(message) {
    clearTimeout(late);
    late = setTimeout(() => say(LATE), PATIENCE_MS);
    try {
      model.send(message);
    } catch {
      say(LATE);
    }
  }

  function sendQuestion() {
    if (waiting || model.get("shown").busy) return;
    waiting = true;
    ask.disabled = true;
    send({
      kind: "ask",
      instruction: instruction.value,
      input: input.value,
      settings: Object.fromEntries(fields.map(({ name, field }) => [name, field.value])),
    });
  }

  function heard() {
    clearTimeout(late);
    waiting = false;
    draw();
  }

  function drawText() {
    const { busy, statistics: told } = model.get("shown");
    const text = model.get("text");
    answer.textContent = text;
    if (!busy && told && !text.trim()) {
      const what = text ? "(nothing but white space)" : "(empty answer)";
      answer.replaceChildren(make("em", "alpaca-chat-nothing", what));
    }
  }

  function draw() {
    const shown = model.get("shown");
    root.classList.toggle("alpaca-chat-busy", shown.busy);
    ask.disabled = waiting || shown.busy;
    stop.disabled = !shown.busy;
    how.textContent = shown.statistics ? "" : shown.settings; // else the statistics say it
    statistics.textContent = shown.statistics;
    prompt.textContent = shown.prompt;
    reply.hidden = !shown.prompt;
    say(shown.problem);
    drawText();
  }

  root.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the classic notebook has keys of its own
    const asks = event.target === instruction || event.target.tagName === "INPUT";
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !asks) return;
    event.preventDefault();
    sendQuestion();
  });

  const changes = { "change:text": drawText, "change:shown": draw, "change:turn": heard };
  for (const [change, act] of Object.entries(changes)) model.on(change, act);
  draw();
  el.append(root);
  return () => {
    clearTimeout(late);
    for (const [change, act] of Object.entries(changes)) model.off(change, act);
  };
}

export default { render };
