// What happened, in order: shown nowhere, read by tests and by people in the developer tools.
const LIMIT = 2000;
const entries = [];

export function log(type, detail = {}) {
  entries.push({ at: Math.round(performance.now()), type, ...detail });
  if (entries.length > LIMIT) entries.shift();
}

export const events = () => entries.slice();
