// Buttons that copy a text.

import { h, s, toast } from "./dom.js";
import { t } from "./text.js";

/** Make a button that copies a text; `what` names it for screen readers. `text` may be a function. */
export function copyButton(text, what) {
  return h("button", {
    type: "button", class: "copy", "data-key": `copy ${what}`, "aria-label": t("shell.copyWhat", { what }), title: t("shell.copyWhat", { what }),
    onclick: async () => toast(t((await copy(typeof text === "function" ? text() : text)) ? "shell.copied" : "shell.notCopied")),
  }, s("svg", { viewBox: "0 0 16 16", width: 15, height: 15, "aria-hidden": "true" },
    s("path", { d: "M5 5V2.5h8.5V11H11M2.5 5H11v8.5H2.5Z" })));
}

/** Copy a text; return whether the browser allowed it. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copySelected(text);
  }
}

/** Copy a text in a page without HTTPS, where the clipboard is reached by a selection only. */
function copySelected(text) {
  const area = h("textarea", { class: "unseen", readonly: true });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area); // behind a dialog, nothing can be selected
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}
