// Speaks with the playground's server, and with nobody else.

// A look at what is there takes no longer; claims that begin a play may be large.
const ANSWERS_WITHIN_MS = 5000;
const BEGINS_WITHIN_MS = 20000;

const HEADERS = { "connector-playground": "1" };

async function ask(path, options = {}, within = ANSWERS_WITHIN_MS) {
  const headers = { ...HEADERS };
  if (options.body) headers["content-type"] = "application/json";
  const signal = AbortSignal.timeout(within);
  try {
    const answer = await fetch(path, { ...options, headers, signal, cache: "no-store" });
    if (answer.ok) return await answer.json();
    const { error } = await answer.json().catch(() => ({}));
    throw new Error(error || `the playground's server says ${answer.status}`);
  } catch (error) {
    throw signal.aborted ? new Error(`no answer within ${within / 1000} s`) : error;
  }
}

export const about = () => ask("/api/about");
export const live = () => ask("/api/live");
export const play = (wanted) => ask("/api/plays", { method: "POST", body: JSON.stringify(wanted) }, BEGINS_WITHIN_MS);
export const look = (token) => ask(`/api/plays/${encodeURIComponent(token)}`);
export const setFaults = (faults) => ask("/api/faults", { method: "PUT", body: JSON.stringify(faults) });
