// Line icons, 24 by 24, drawn in the colour of the text.
const draw = (body) =>
  `<svg viewBox="0 0 24 24" width="22" height="22" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">${body}</svg>`;

const slash = '<path d="M4 4l16 16"/>';
const camera = '<rect x="3" y="6.5" width="12" height="11" rx="2.5"/><path d="M15 10.5l5-3v9l-5-3z"/>';
const mic =
  '<rect x="9" y="3" width="6" height="11" rx="3"/><path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3"/>';

export const icons = {
  camera: draw(camera),
  cameraOff: draw(camera + slash),
  mic: draw(mic),
  micOff: draw(mic + slash),
  screen: draw('<rect x="3" y="4.5" width="18" height="12" rx="2.5"/><path d="M9 20.5h6M12 7.5v6M9.5 10L12 7.5l2.5 2.5"/>'),
  chat: draw('<path d="M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v7a2.5 2.5 0 0 1-2.5 2.5H10l-4.5 4v-4A1.5 1.5 0 0 1 4 14.5z"/>'),
  stats: draw('<path d="M5 19v-6M12 19V5M19 19v-9"/>'),
  leave: draw('<path d="M14 4.5H7A2.5 2.5 0 0 0 4.5 7v10A2.5 2.5 0 0 0 7 19.5h7M10 12h10M16.5 8.5L20 12l-3.5 3.5"/>'),
  people: draw('<circle cx="9" cy="8.5" r="3.2"/><path d="M3.5 19c.4-3.2 2.6-5 5.5-5s5.1 1.8 5.5 5M15.5 5.6a3 3 0 0 1 0 5.8M17.5 14.4c1.7.7 2.8 2.3 3 4.6"/>'),
  sound: draw('<path d="M4 9.5v5h3.500l4.5 4v-13l-4.5 4zM15.5 9a4 4 0 0 1 0 6M18 6.500a7.5 7.5 0 0 1 0 11"/>'),
  pin: draw('<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>'),
  close: draw('<path d="M6 6l12 12M18 6L6 18"/>'),
  send: draw('<path d="M4.5 12L20 4.5 16 20l-4.5-6z M11.5 14L20 4.5"/>'),
};

/** Fill every `<… data-icon="name">` of a fragment. */
export function placeIcons(root) {
  for (const element of root.querySelectorAll("[data-icon]"))
    element.innerHTML = icons[element.dataset.icon];
}
