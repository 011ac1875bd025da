// Fetches as `fetch` does, and shows a live stream as it arrives: Swagger UI shows an answer at its end
// only. A stream that was stopped is an answer, too: of what has arrived until then.

const MAX_SHOWN = 100_000; // characters
const panel = document.querySelector("#live");
const [stop, name, state, shown] = ["button", "code", "span", "pre"].map((each) => panel.querySelector(each));
let current = null;

export async function fetchLive(url, request) {
  const controller = new AbortController();
  const answer = await fetch(url, { ...request, cache: "no-store", signal: controller.signal });
  if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) return answer;
  current?.abort();
  current = controller;
  stop.onclick = () => controller.abort();
  open(answer);
  const text = await read(answer);
  if (current === controller) close();
  const whole = new Response(text, answer);
  Object.defineProperty(whole, "url", { value: answer.url });
  return whole;
}

function open(answer) {
  name.textContent = new URL(answer.url).pathname;
  state.textContent = "receiving …";
  shown.textContent = "";
  panel.hidden = false;
}

function close() {
  current = null;
  panel.hidden = true;
}

async function read(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return text;
      text = (text + value).slice(-MAX_SHOWN);
      shown.textContent = text;
      shown.scrollTop = shown.scrollHeight;
    }
  } catch (error) {
    if (error.name !== "AbortError") text += `\n: the connection was lost: ${error.message}\n`;
    return text;
  }
}
