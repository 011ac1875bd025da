// Elements out of names, attributes and children; a child that is a string becomes text.

export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The one piece of Markdown that descriptions use: `code`.
export function prose(text) {
  return text
    .split("`")
    .map((part, number) => (number % 2 === 1 ? element("code", {}, part) : part));
}
