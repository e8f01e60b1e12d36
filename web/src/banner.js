// Messages above the call: one line each, the urgent ones as alerts.
import { icons } from "./icons.js";

const shown = new Map(); // id -> element

/** `tone` is info, busy or bad. Showing an id again replaces its text. */
export function showBanner(id, text, { tone = "info", action, lasts } = {}) {
  const old = shown.get(id);
  if (old?.dataset.text === text) return;
  hideBanner(id);
  const element = document.createElement("div");
  element.className = `banner banner-${tone}`;
  element.dataset.text = text;
  element.setAttribute("role", tone === "bad" ? "alert" : "status");
  const words = document.createElement("p");
  words.textContent = text;
  element.append(words);
  if (action) element.append(button(action.label, action.run));
  if (tone !== "busy") {
    const close = button("", () => hideBanner(id));
    close.className = "quiet";
    close.innerHTML = icons.close;
    close.setAttribute("aria-label", "Dismiss");
    element.append(close);
  }
  document.getElementById("banners").append(element);
  shown.set(id, element);
  if (lasts) setTimeout(() => shown.get(id) === element && hideBanner(id), lasts);
}

export function hideBanner(id) {
  shown.get(id)?.remove();
  shown.delete(id);
}

export function hideAllBanners() {
  for (const id of [...shown.keys()]) hideBanner(id);
}

function button(label, run) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = label;
  element.addEventListener("click", run);
  return element;
}
