// What the console's forms do by themselves, only with fewer clicks. Every form works without it.
"use strict";

// Setup link: the secret is in the fragment, which the browser does not send. It leaves the address at once.
const linkForm = document.querySelector("[data-link-form]");
if (linkForm && /^#pg[sc]_\w+$/.test(location.hash)) {
  const field = linkForm.elements.namedItem("code");
  field.value = location.hash.slice(1);
  document.querySelector("[data-link-code]").hidden = true;
  history.replaceState(null, "", location.pathname);
  // A console link comes from the application, where the person is signed in: nobody has to press anything, unless
  // that would end a session.
  if (field.value.startsWith("pgc_") && "submitsItself" in linkForm.dataset) linkForm.requestSubmit();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    field.select();
    document.execCommand("copy");
  }
  const said = document.getElementById(`${button.dataset.copy}-copied`);
  if (said) said.textContent = "Copied.";
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent;
});

// What needs script is shown where there is script.
for (const element of document.querySelectorAll("[data-script]")) element.hidden = false;
