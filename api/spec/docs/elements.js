// Makes an element from a name, attributes and children; strings become text nodes.

export function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Renders `code`, the only Markdown in descriptions.
export function prose(text) {
  return text
    .split("`")
    .map((part, number) => (number % 2 === 1 ? element("code", {}, part) : part));
}
