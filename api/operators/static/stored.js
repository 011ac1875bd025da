// The operator's choices, which the browser keeps: the language, the time zone, saved views.
//
//   remember("zone", "utc")     recall("zone")     recall("views", [])
//
// Values are JSON. Where the browser keeps nothing, choices last until the page is closed.

const PREFIX = "jobtrail-";
const unkept = new Map();

export function recall(name, otherwise = null) {
  if (unkept.has(name)) return unkept.get(name);
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    unkept.delete(name);
  } catch {
    unkept.set(name, value);
  }
}
