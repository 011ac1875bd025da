/**
 * The custom element `<job-progress kind="job" job-id="import-1">`: the progress of one job, with its
 * step, its percent, its remaining time and its end, in Korean or English.
 *
 * It watches the job itself, or shows the state that its property `state` is set to. It uses no
 * inline style, so that it works under a strict Content-Security-Policy.
 */
import { summaryOf, watchJob } from "./client.js";

const TEXTS = {
  en: {
    name: "Progress",
    queued: "Waiting",
    processing: "In progress",
    done: "Done",
    failed: "Failed",
    cancelled: "Cancelled",
    connecting: "Connecting…",
    retrying: "Reconnecting…",
    step: (index, total) => `Step ${index} of ${total}`,
    left: (count, unit) => `about ${count} ${{ second: "s", minute: "min", hour: "h" }[unit]} left`,
  },
  ko: {
    name: "진행률",
    queued: "대기 중",
    processing: "진행 중",
    done: "완료",
    failed: "실패",
    cancelled: "취소됨",
    connecting: "연결 중…",
    retrying: "다시 연결 중…",
    step: (index, total) => `${total}단계 중 ${index}단계`,
    left: (count, unit) => `약 ${count}${{ second: "초", minute: "분", hour: "시간" }[unit]} 남음`,
  },
};

// Colours follow the page: the text is the page's, and the track is a shade of it.
const CSS = `
:host { display: block; min-inline-size: 8em; font: inherit; line-height: 1.4; --_accent: var(--job-progress-color, #2f6feb); }
:host([hidden]) { display: none; }
:host([phase="done"]) { --_accent: var(--job-progress-done-color, #1f9254); }
:host([phase="failed"]) { --_accent: var(--job-progress-failed-color, #e5484d); }
:host([phase="cancelled"]) { --_accent: var(--job-progress-cancelled-color, #8b8d98); }
.line { display: flex; gap: 1em; justify-content: space-between; align-items: baseline; }
.label { min-inline-size: 0; overflow-wrap: anywhere; }
.value { white-space: nowrap; font-variant-numeric: tabular-nums; }
.track {
  block-size: var(--job-progress-height, 0.5em);
  margin-block: 0.25em;
  overflow: hidden;
  border-radius: var(--job-progress-radius, 1em);
  background: var(--job-progress-track-color, color-mix(in srgb, currentColor 18%, transparent));
}
.bar { block-size: 100%; inline-size: 0; border-radius: inherit; background: var(--_accent); transition: inline-size 0.3s; }
.track[data-indeterminate] .bar { inline-size: 30%; animation: slide 1.6s ease-in-out infinite alternate; }
.detail { font-size: 0.875em; opacity: 0.8; overflow-wrap: anywhere; }
.detail:empty { display: none; }
.error { opacity: 1; }
.announcement { position: absolute; inline-size: 1px; block-size: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@keyframes slide { from { margin-inline-start: 0; } to { margin-inline-start: 70%; } }
@media (prefers-reduced-motion: reduce) {
  .bar { transition: none; }
  .track[data-indeterminate] .bar { inline-size: 100%; animation: none; opacity: 0.5; }
}
@media (forced-colors: active) {
  .track { border: 1px solid CanvasText; }
  .bar { forced-color-adjust: none; background: Highlight; }
}
`;

const EVENTS = { onState: "jobstate", onEnd: "jobend", onError: "joberror", onConnectionState: "jobconnection" };

// A server that renders the page may import the module, too; it has no elements.
const Base = globalThis.HTMLElement ?? class {};
let sheet;

export class JobProgressElement extends Base {
  static observedAttributes = ["kind", "job-id", "base-url", "tenant", "token", "stream", "lang", "label"];
  #watch;
  #scheduled = false;
  #options = {};
  #state = null;
  #error = null;
  #percent = null; // the last one that was known
  #parts;

  constructor() {
    super();
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(CSS);
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    // Not by markup, which pages that require trusted types forbid.
    const label = make("span", "label"), value = make("span", "value"), bar = make("div", "bar");
    const track = make("div", "track", { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 });
    const line = make("div", "line"), detail = make("div", "detail");
    const announcement = make("div", "announcement", { role: "status", "aria-live": "polite" });
    line.append(label, value);
    track.append(bar);
    root.append(line, track, detail, announcement);
    this.#parts = { label, value, track, bar, detail, announcement };
  }

  get kind() {
    return this.getAttribute("kind") ?? "job";
  }

  set kind(value) {
    this.setAttribute("kind", value);
  }

  get jobId() {
    return this.getAttribute("job-id");
  }

  set jobId(value) {
    if (value === null || value === undefined) this.removeAttribute("job-id");
    else this.setAttribute("job-id", value);
  }

  /** The state that is shown. Setting it is for pages that watch the job themselves. */
  get state() {
    return this.#state;
  }

  set state(state) {
    this.#show(state ?? null);
  }

  get getToken() {
    return this.#options.getToken;
  }

  set getToken(getToken) {
    this.options = { ...this.#options, getToken };
  }

  /** More options of `watchJob`, such as `after` or `timing`. */
  get options() {
    return this.#options;
  }

  set options(options) {
    this.#options = { ...options };
    this.#restart();
  }

  /** The state of the connection. */
  get connectionState() {
    return this.#watch?.connectionState ?? "closed";
  }

  connectedCallback() {
    this.#render();
    this.#restart();
  }

  disconnectedCallback() {
    this.#watch?.close();
    this.#watch = undefined;
  }

  attributeChangedCallback(name, before, value) {
    if (before === value) return;
    if (name === "lang" || name === "label") this.#render();
    else this.#restart();
  }

  /** Watch the job of the attributes, once for all changes of the same task. */
  #restart() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#watch?.close();
      this.#watch = undefined;
      if (this.isConnected && this.jobId) this.#start();
    });
  }

  #start() {
    const attribute = (name) => this.getAttribute(name) ?? undefined;
    const options = { token: attribute("token"), tenant: attribute("tenant"), stream: attribute("stream") };
    const watched = { kind: this.kind, id: this.jobId, baseUrl: attribute("base-url"), ...options, ...this.#options };
    this.#error = null;
    this.#show(null);
    let watch; // undefined while `watchJob` runs, which may already call back
    const isCurrent = () => this.#watch === watch;
    const notify = (name, note) => (...values) => {
      this.#options[name]?.(...values);
      if (!isCurrent()) return;
      note?.(values[0]);
      this.dispatchEvent(new CustomEvent(EVENTS[name], { detail: values[0], bubbles: true, composed: true }));
    };
    watch = watchJob({
      ...watched,
      onState: notify("onState", (state) => this.#show(state)),
      onEnd: notify("onEnd"),
      onError: notify("onError", (problem) => this.#fail(problem)),
      onConnectionState: notify("onConnectionState", () => this.#render()),
    });
    this.#watch = watch;
    this.#render();
  }

  #show(state) {
    if (!state || state.attempt !== this.#state?.attempt) this.#percent = null;
    this.#state = state;
    this.#render();
  }

  #fail(problem) {
    this.#error = problem;
    this.#render();
  }

  #render() {
    const texts = TEXTS[this.#language()];
    const summary = this.#state ? summaryOf(this.kind, this.#state) : null;
    this.#percent = summary?.percent ?? this.#percent;
    const failed = this.#error && !this.#state;
    const phase = summary?.phase ?? (failed ? "failed" : null);
    if (phase) this.setAttribute("phase", phase);
    else this.removeAttribute("phase");
    const { label, value, track, bar, detail, announcement } = this.#parts;
    const open = phase === null || phase === "queued" || phase === "processing";
    const title = this.#title(texts, summary, phase);
    set(label, title);
    set(value, this.#percent === null ? "" : percentText(this.#percent, this.#language()));
    bar.style.inlineSize = this.#percent === null ? "" : `${this.#percent}%`;
    const busy = phase === "processing" || (phase === null && this.jobId !== null);
    track.toggleAttribute("data-indeterminate", busy && this.#percent === null);
    this.#describe(track, texts, title);
    const error = summary?.error ?? this.#error?.detail ?? this.#error?.title ?? "";
    set(detail, open && !error ? remaining(texts, summary) : error);
    detail.classList.toggle("error", error !== "");
    // Not each percent: a screen reader would not stop talking. The value of the bar has it.
    set(announcement, [title, error].filter(Boolean).join(": "));
  }

  #title(texts, summary, phase) {
    if (this.connectionState === "retrying") return texts.retrying;
    if (phase === null) return this.jobId ? texts.connecting : "";
    if (phase !== "processing") return texts[phase];
    const { step, stepIndex, stepTotal } = summary;
    const place = stepIndex && stepTotal ? texts.step(stepIndex, stepTotal) : "";
    return [place, step].filter(Boolean).join(" · ") || texts.processing;
  }

  #describe(track, texts, title) {
    track.setAttribute("aria-label", this.getAttribute("label") ?? texts.name);
    if (this.#percent === null) track.removeAttribute("aria-valuenow");
    else track.setAttribute("aria-valuenow", String(Math.round(this.#percent)));
    track.setAttribute("aria-valuetext", [this.#parts.value.textContent, title].filter(Boolean).join(" "));
  }

  #language() {
    const lang = this.closest?.("[lang]")?.getAttribute("lang") || navigator.language || "";
    return /^ko\b/i.test(lang) ? "ko" : "en";
  }
}

/** Return an element whose part and class have this name. */
function make(tag, name, attributes = {}) {
  const element = document.createElement(tag);
  for (const [attribute, value] of Object.entries({ class: name, part: name, ...attributes })) {
    element.setAttribute(attribute, value);
  }
  return element;
}

function percentText(percent, language) {
  return new Intl.NumberFormat(language, { style: "percent" }).format(Math.floor(percent) / 100);
}

function remaining(texts, summary) {
  const seconds = summary?.phase === "processing" ? summary.remainingSeconds : null;
  if (seconds === null || !(seconds > 0)) return "";
  if (seconds < 60) return texts.left(Math.ceil(seconds), "second");
  if (seconds < 3600) return texts.left(Math.round(seconds / 60), "minute");
  return texts.left(Math.round(seconds / 3600), "hour");
}

/** Change a text only if it differs, so that a live region announces it once. */
function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Define the element under this name, unless it is defined. */
export function defineJobProgress(name = "job-progress") {
  const { customElements } = globalThis;
  if (customElements && !customElements.get(name)) {
    customElements.define(name, name === "job-progress" ? JobProgressElement : class extends JobProgressElement {});
  }
}

defineJobProgress();
