/** The parameters of the pages, and when each row last changed. */

export interface Parameters {
  ids: string[];
  many: boolean;
  tenant?: string;
  tokens?: string[];
  stream?: "eventsource" | "fetch";
}

export const parameters: Parameters = JSON.parse(new URLSearchParams(location.search).get("parameters") ?? "");

export function getToken(): string {
  return parameters.tokens?.[0] ?? "";
}

declare global {
  interface Window {
    shownAt: Record<string, number>;
  }
}

/** Note when the text of an element changes to one that was not shown before, by its attribute `data-job`. */
window.shownAt = {};
new MutationObserver((records) => {
  for (const { target } of records) {
    const row = (target instanceof Element ? target : target.parentElement)?.closest("[data-job]");
    if (row) window.shownAt[`${row.getAttribute("data-job")} ${row.textContent?.trim()}`] ??= Date.now();
  }
}).observe(document, { subtree: true, childList: true, characterData: true });
