// The texts of the console in the operator's language.
//
// All texts are in the catalogue of messages, api/http/messages/AREA.json, where each key has its
// translations beside each other. The server makes messages.js of it; problem details come from it, too.
//
//   t("jobs.title")                                     a text of the area `jobs`
//   t("dead.requeued", { entry })                       with values for the {words} of the text
//   t("health.deadLetters", { count: 3 })               the plural form of the number `count`
//   parts("jobs.lead", { tenant: h("a", …) })           an array of texts and elements, for h()
//
// Numbers among the values are formatted. To show a number in another way, pass it as a text, and
// `count` beside it: t("health.stalled", { count: 1000, shown: "1,000+" }).
// Do not call t() while a module is loaded if its area may be unknown to an older server; everything
// else may: the page is loaded again when the language is changed. Mark up data that is no text of the
// catalogue, such as ids and messages of workers, with translate="no".

import messages from "./messages.js";
import { recall, remember } from "./stored.js";

export const LANGUAGES = { __proto__: null, en: "English", ko: "한국어" };
const LOCALES = { __proto__: null, en: "en-GB", ko: "ko-KR" };

export const language = wanted();
/** The locale for the formats of `Intl`. */
export const locale = LOCALES[language];

const plural = new Intl.PluralRules(locale);
const integer = new Intl.NumberFormat(locale);

document.documentElement.lang = language;

function wanted() {
  const known = [recall("language"), ...navigator.languages].map((each) => each?.split("-")[0]);
  return known.find((each) => each in LANGUAGES) ?? "en";
}

/** Change the language: the page is loaded again. */
export function changeLanguage(name) {
  remember("language", name);
  location.reload();
}

/** Return the text of a message. */
export function t(key, values = {}) {
  return parts(key, values).join("");
}

/** Return the text of a message as an array, in which values may be elements. */
export function parts(key, values = {}) {
  return textOf(key, values.count).split(/\{(\w+)\}/)
    .map((piece, index) => (index % 2 ? shown(values[piece]) : piece))
    .filter((piece) => piece !== "");
}

/** Return whether the catalogue has a message. */
export function known(key) {
  return found(key) !== undefined;
}

function textOf(key, count) {
  const text = found(key)?.[language];
  if (text === undefined) {
    console.error(`no message ${key} in ${language}`);
    return key;
  }
  return typeof text === "string" ? text : text[plural.select(count)] ?? text.other;
}

function found(key) {
  const [area, ...rest] = key.split(".");
  return messages[area]?.[rest.join(".")];
}

function shown(value) {
  return typeof value === "number" ? integer.format(value) : value ?? "–";
}
