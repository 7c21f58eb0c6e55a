// Set up and Tokens: what was shown once does not come back with the back button.
"use strict";

window.addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-secret]")) shown.remove();
});
