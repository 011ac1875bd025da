// A plugin that renders descriptions as text. Swagger UI renders Markdown by `innerHTML`, which the
// page's Trusted Types forbid; the only Markdown in our descriptions is `code` and blank lines.

export function plainText({ React }) {
  const { createElement } = React;
  const Markdown = ({ source = "", className = "" }) =>
    createElement("div", { className: `renderedMarkdown ${className}` }, ...paragraphs(source));

  function paragraphs(text) {
    return text.split(/\n{2,}/).map((each) => createElement("p", {}, ...withCode(each)));
  }

  function withCode(text) {
    return text
      .split("`")
      .map((part, number) => (number % 2 === 1 ? createElement("code", {}, part) : part));
  }

  return { components: { Markdown } };
}
