// One sign-in for all tabs of a console (decision 0060).
//
// The token stays in the session storage of each tab. A tab without one asks the others over a BroadcastChannel,
// which reaches only pages of the same origin in the same browser profile. Signing out signs all tabs out.

const NAME = `jobtrail ${new URL(".", document.baseURI).pathname}`; // one origin may have several consoles
const WAIT = 800; // milliseconds; a hidden tab may answer late

let channel = null, answered = null;

/** Answer tabs that ask: `current` returns this tab's token if the server accepts it, else null. */
export function startSharing(current, onSignedOut) {
  channel = new BroadcastChannel(NAME);
  channel.addEventListener("message", ({ data }) => {
    if (data.ask === true && current() !== null) channel.postMessage({ token: current() });
    else if (typeof data.token === "string") answered?.(data.token);
    else if (data.out === true) {
      answered?.(null); // the token of a tab that has not heard of it yet may follow
      onSignedOut();
    }
  });
}

/** Return the token of another tab that is signed in, or null. */
export function askOtherTabs() {
  return new Promise((resolve) => {
    answered = resolve;
    channel.postMessage({ ask: true });
    setTimeout(() => resolve(null), WAIT);
  }).finally(() => {
    answered = null;
  });
}

/** Sign out all other tabs. */
export function signOutOthers() {
  channel.postMessage({ out: true });
}
