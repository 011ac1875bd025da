// The settings at the edge of each page: language, time zone, relative or absolute times.

import { h } from "./dom.js";
import { LANGUAGES, changeLanguage, language, t } from "./text.js";
import { localOffset, setAbsolute, setZone, timesAreAbsolute, zoneIsUtc } from "./time.js";

/** Make the settings; `redraw` shows the page again with the new choice. */
export function settings(redraw) {
  const zones = [["local", t("shell.zoneLocal", { zone: localOffset() })], ["utc", t("shell.zoneUtc")]];
  const times = [["relative", t("shell.timesRelative")], ["absolute", t("shell.timesAbsolute")]];
  return h("details", {},
    h("summary", {}, t("shell.settings")),
    h("div", { class: "choices" },
      choice("language", t("shell.language"), Object.entries(LANGUAGES), language, changeLanguage),
      choice("zone", t("shell.zone"), zones, zoneIsUtc() ? "utc" : "local", (zone) => {
        setZone(zone);
        redraw();
      }),
      choice("times", t("shell.times"), times, timesAreAbsolute() ? "absolute" : "relative", (name) => setAbsolute(name === "absolute"))));
}

function choice(name, label, options, chosen, choose) {
  return h("p", {},
    h("label", { for: `choose-${name}` }, label),
    h("select", { id: `choose-${name}`, onchange: (event) => choose(event.target.value) },
      options.map(([value, text]) => h("option", { value, selected: value === chosen, lang: value in LANGUAGES ? value : null }, text))));
}
