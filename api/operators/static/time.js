// Times and durations, the same everywhere in the console.
//
//   when(value)      an element: the time since `value` (milliseconds or RFC 3339), kept up to date;
//                    pressing it, or Enter on it, shows the same time with its zone and in UTC
//   moment(value)    a text: 2026-11-27 10:42:11 +09:00
//   exact(value)     the same with milliseconds
//   clock(value)     a text for an axis: 10:42; clock(value, "second"): 10:42:11; "day": 27 Nov
//   seconds(value)   a duration: 0.4 s, 12 s, 3 min 20 s, 5 h 10 min, 2 d 3 h
//   relative(value)  an age: 12 s ago, 4 min ago, 1 h 5 min ago, 2 d 3 h ago, 14 d ago
//
// Times are in the zone of the browser, or in UTC if the operator chose that in the settings. There
// the operator also chooses between relative and absolute times; `when` follows.

import { h } from "./dom.js";
import { serverNow } from "./http.js";
import { recall, remember } from "./stored.js";
import { locale, t } from "./text.js";

const UNITS = [["d", 86_400], ["h", 3_600], ["min", 60], ["s", 1]];
const UPDATED_EVERY = 5_000; // milliseconds
const MINUTE = 60, DAY = 86_400; // seconds

let writer, minutes, dayOnly;
let absolute = recall("times") === "absolute";
chooseZone(recall("zone"));
markAbsolute();

function chooseZone(zone) {
  const timeZone = zone === "utc" ? "UTC" : undefined;
  const numbers = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
  // A locale with Arabic digits in every language: only the parts are used.
  writer = new Intl.DateTimeFormat("en-GB", {
    ...numbers, year: "numeric", month: "2-digit", day: "2-digit", second: "2-digit",
    fractionalSecondDigits: 3, timeZoneName: "longOffset",
  });
  minutes = new Intl.DateTimeFormat("en-GB", numbers);
  dayOnly = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", timeZone });
}

export function zoneIsUtc() {
  return recall("zone") === "utc";
}

/** Change the zone of all times: "utc", or "local" for the zone of the browser. */
export function setZone(zone) {
  remember("zone", zone);
  chooseZone(zone);
  updateAll();
}

export function timesAreAbsolute() {
  return absolute;
}

/** Let the cells of tables break absolute times, which are long. */
function markAbsolute() {
  document.documentElement.classList.toggle("absolute-times", absolute);
}

/** Change how `when` shows times. */
export function setAbsolute(value) {
  absolute = value;
  markAbsolute();
  remember("times", value ? "absolute" : "relative");
  updateAll();
}

/** Return the zone of the browser as an offset from UTC: +09:00. */
export function localOffset() {
  const minutes = -new Date().getTimezoneOffset(), size = Math.abs(minutes);
  const digits = (value) => String(Math.floor(value)).padStart(2, "0");
  return `${minutes < 0 ? "-" : "+"}${digits(size / 60)}:${digits(size % 60)}`;
}

/** Format seconds: 0.4 s, 12 s, 3 min 20 s, 5 h 10 min, 2 d 3 h. */
export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 9.95 && value !== Math.round(value)) return unit("s", value.toFixed(1));
  const whole = Math.round(value);
  const largest = UNITS.findIndex(([, size]) => whole >= size);
  if (largest < 0) return unit("s", 0);
  // Two neighbouring units and no more: 19 h and 52 s are 19 h.
  const [[name, size], next] = UNITS.slice(largest, largest + 2);
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  const first = unit(name, Math.floor(whole / size));
  return rest ? `${first} ${unit(next[0], rest)}` : first;
}

function unit(name, n) {
  return t(`time.${name}`, { n: String(n) });
}

export function moment(value) {
  const { date, time, zone } = written(value);
  return `${date} ${time} ${zone}`;
}

/** Format a time with milliseconds and zone. */
export function exact(value) {
  const { date, time, millis, zone } = written(value);
  return `${date} ${time}.${millis} ${zone}`;
}

/** Format a time for an axis whose unit is "minute", "second" or "day". */
export function clock(value, unit = "minute") {
  if (unit === "second") return written(value).time;
  return (unit === "day" ? dayOnly : minutes).format(new Date(value));
}

function written(value) {
  const found = Object.fromEntries(writer.formatToParts(new Date(value)).map((each) => [each.type, each.value]));
  const offset = found.timeZoneName.slice(3) || "+00:00";
  return {
    date: `${found.year}-${found.month}-${found.day}`,
    time: `${found.hour}:${found.minute}:${found.second}`,
    millis: found.fractionalSecond,
    zone: zoneIsUtc() ? "UTC" : offset,
  };
}

/** Make an element with the time of `value` (milliseconds or RFC 3339), or a dash. */
export function when(value) {
  if (value === null || value === undefined) return "–";
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return String(value);
  const time = h("time", { datetime: at.toISOString() });
  update(time);
  return h("button", {
    type: "button", class: "when", "data-key": `when ${at.getTime()}`, onclick: (event) => explain(event.currentTarget, at),
  }, time);
}

function update(node) {
  const text = absolute ? moment(node.dateTime) : relative(Date.parse(node.dateTime));
  if (node.textContent !== text) node.textContent = text;
  const title = exact(node.dateTime);
  if (node.title !== title) node.title = title;
}

/** Return the time since a time, or until it, in milliseconds since 1970: in two units at most, as short as it is read. */
export function relative(ms) {
  const past = (serverNow() - ms) / 1000;
  // The clocks of producers differ a little from the server's.
  return past < -1 ? t("time.in", { time: seconds(rounded(-past)) }) : t("time.ago", { time: seconds(rounded(Math.max(0, past))) });
}

/** Return an age in whole seconds, minutes, or from a week on days. */
function rounded(age) {
  const unit = age < MINUTE ? 1 : age < 7 * DAY ? MINUTE : DAY;
  return Math.floor(age / unit) * unit;
}

function updateAll() {
  document.querySelectorAll(".when time").forEach(update);
}

setInterval(() => {
  if (!document.hidden && !absolute) updateAll();
}, UPDATED_EVERY);

/** Show a time in full beside its element, until Escape or a press elsewhere. */
function explain(button, at) {
  document.getElementById("moment")?.remove();
  const utc = at.toISOString().replace("T", " ").replace("Z", " UTC");
  const facts = [["relative", relative(at.getTime())], ["local", exact(at)], ["utc", utc]];
  const shown = facts.filter(([name]) => name !== "local" || !zoneIsUtc());
  const box = h("div", { id: "moment", class: "moment", popover: "auto", role: "dialog", "aria-label": t("time.dialog"), tabindex: "-1" },
    h("dl", {}, shown.map(([name, text]) => h("div", {}, h("dt", {}, t(`time.${name}`)), h("dd", {}, text)))));
  document.body.append(box);
  box.addEventListener("toggle", (event) => event.newState === "closed" && box.remove());
  box.showPopover();
  const place = button.getBoundingClientRect(), size = box.getBoundingClientRect();
  const below = place.bottom + size.height + 8 < innerHeight;
  box.style.top = `${below ? place.bottom + 4 : Math.max(4, place.top - size.height - 4)}px`;
  box.style.left = `${Math.max(8, Math.min(place.left, innerWidth - size.width - 8))}px`;
  box.focus({ preventScroll: true });
}
