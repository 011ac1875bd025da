// Whether a group catches up, and in which time, from its last samples.

import { serverNow } from "./http.js";
import { t } from "./text.js";
import { seconds } from "./time.js";

const WINDOW = 65_000; // milliseconds of samples that are compared
const LEAST = 0.01; // the share of the backlog that must go or come in a minute

/**
 * Return {trend, seconds}: `better` with the seconds until nothing is left, `worse` or `same`. Null if that is
 * unknown, or nothing is left. Work that comes meanwhile counts, because only what is left is compared: with the
 * most that was left lately, so that the end of a flood is noticed at the next sample.
 */
export function forecastOf(at, { waiting, pending }) {
  if (!at?.length || !waiting || !pending) return null;
  const end = at.length - 1, left = (index) => (waiting[index] === null ? null : waiting[index] + pending[index]);
  const known = at.map((_, index) => index).filter((index) => at[end] - at[index] <= WINDOW && left(index) !== null);
  if (known.length < 2 || !left(end) || left(end) === null) return null;
  const most = known.reduce((best, index) => (left(index) >= left(best) ? index : best));
  const span = (from) => (at[end] - at[from]) / 60_000;
  const grown = left(end) - left(known[0]);
  if (most === end) return { trend: grown > LEAST * left(end) * span(known[0]) ? "worse" : "same", seconds: null };
  const perMinute = (left(most) - left(end)) / span(most);
  if (perMinute < LEAST * left(end)) return { trend: "same", seconds: null };
  const remaining = (left(end) / perMinute) * 60 - (serverNow() - at[end]) / 1000;
  return { trend: "better", seconds: Math.max(1, remaining) };
}

/** Return the forecast as a text; empty if there is none. */
export function forecastText(forecast) {
  if (!forecast) return "";
  return forecast.trend === "better" ? t("health.better", { time: seconds(rounded(forecast.seconds)) }) : t(`health.${forecast.trend}`);
}

/** Round seconds to what an estimate is worth: 5 s, half minutes, whole ones. */
function rounded(value) {
  const step = value < 90 ? 5 : value < 600 ? 30 : value < 7_200 ? 60 : 3_600;
  return Math.max(step, Math.round(value / step) * step);
}
