// Map to groups: rows without a round trip, a list of groups below the field, Save only after a preview.
// Without this script the same buttons send the form.
"use strict";

const form = document.getElementById("mapping");
if (form) {
  const rules = document.getElementById("rules");
  const save = document.getElementById("save");
  const saveHelp = document.getElementById("save-help");
  let unsaved = "unsaved" in form.dataset;
  let leaving = false;

  // What was previewed is no longer what the form says.
  function outdatePreview() {
    unsaved = true;
    if (save.disabled) return;
    save.disabled = true;
    saveHelp.textContent = saveHelp.dataset.stale;
  }
  form.addEventListener("input", outdatePreview);

  // A value with a row is no longer one that no rule covers.
  function hideCovered() {
    const values = new Set([...rules.querySelectorAll("[name=value]")].map((field) => field.value));
    const buttons = [...form.querySelectorAll("[data-add]")];
    for (const button of buttons) button.closest("tr").hidden = values.has(button.dataset.add);
    const uncovered = form.querySelector("#uncovered");
    if (uncovered) uncovered.hidden = buttons.every((button) => values.has(button.dataset.add));
  }
  form.addEventListener("change", hideCovered);
  form.addEventListener("submit", () => { leaving = true; });
  window.addEventListener("pageshow", () => { leaving = false; });
  window.addEventListener("beforeunload", (event) => {
    if (unsaved && !leaving) event.preventDefault();
  });

  // Rows ----------------------------------------------------------------------------------------------------------

  function number() {
    [...rules.children].forEach((row, index) => {
      const button = row.querySelector("[name=remove]");
      button.value = index + 1;
      button.setAttribute("aria-label", `Remove row ${index + 1}`);
    });
  }

  function fields(row) {
    return [row.querySelector("[name=value]"), row.querySelector("[name=group]")];
  }

  function addRow(value) {
    const blank = [...rules.children].find((row) => fields(row).every((field) => !field.value.trim()));
    const row = (value && blank) || document.getElementById("new-rule").content.firstElementChild.cloneNode(true);
    rules.append(row);
    prepare(row);
    number();
    const [first, second] = fields(row);
    first.value = value;
    (value ? second : first).focus();
    hideCovered();
    outdatePreview();
  }

  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.name === "add") {
      event.preventDefault();
      addRow(button.value);
    } else if (button.name === "remove") {
      event.preventDefault();
      const row = button.closest(".rule");
      const near = row.nextElementSibling || row.previousElementSibling;
      const box = row.querySelector("[name=create]");
      row.remove();
      if (box) handOver(box);
      if (!near) addRow("");
      number();
      hideCovered();
      outdatePreview();
      fields(near || rules.firstElementChild)[0].focus();
    }
  });

  // Groups: a combobox with a list (WAI-ARIA Authoring Practices, "Combobox") -------------------------------------

  const list = document.createElement("ul");
  list.id = "group-options";
  list.className = "options";
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Groups");
  list.hidden = true;
  let owner = null;
  let asked = 0;
  let soon = 0;
  let described = 0;

  async function ask(text) {
    const answer = await fetch(`${form.dataset.groups}?q=${encodeURIComponent(text)}`);
    return answer.ok ? answer.json() : null;
  }

  function prepare(row) {
    const input = fields(row)[1];
    row.querySelector(".missing").setAttribute("aria-live", "polite");
    input.removeAttribute("list");
    for (const [name, value] of Object.entries({
      role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id,
    })) input.setAttribute(name, value);
  }

  function close() {
    if (!owner) return;
    owner.setAttribute("aria-expanded", "false");
    owner.removeAttribute("aria-activedescendant");
    owner = null;
    list.hidden = true;
    list.replaceChildren();
  }

  function mark(option) {
    for (const each of list.children) each.setAttribute("aria-selected", String(each === option));
    if (option) {
      owner.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      owner.removeAttribute("aria-activedescendant");
    }
  }

  async function open(input) {
    const question = ++asked;
    const found = await ask(input.value.trim());
    if (question !== asked || !found || document.activeElement !== input) return;
    close();
    const name = input.value.trim();
    const options = found.names.map((each) => ({ name: each, creates: false }));
    if (found.missing) options.push({ name, creates: true });
    if (!options.length) return;
    list.replaceChildren(...options.map(({ name: each, creates }, index) => {
      const option = document.createElement("li");
      option.id = `group-option-${index}`;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.dataset.name = each;
      if (creates) option.dataset.creates = "yes";
      option.textContent = creates ? `Create "${each}"` : each;
      return option;
    }));
    input.closest(".rule").append(list);
    list.hidden = false;
    owner = input;
    input.setAttribute("aria-expanded", "true");
  }

  function choose(option) {
    const input = owner;
    input.value = option.dataset.name;
    const creates = option.dataset.creates === "yes";
    close();
    // The event `change` of the field comes later and asks again.
    showMissing(input, { missing: creates, like: [] }, creates);
    outdatePreview();
  }

  // The box of a row that names its group no longer goes to the next row that does.
  function handOver(box) {
    const next = [...rules.querySelectorAll("[name=group]")].find((field) => field.value.trim() === box.value);
    if (next) showMissing(next, { missing: true, like: [] }, box.checked);
  }

  // Beside the row: that there is no such group, with the box that makes it. One row of a name has the box.
  function showMissing(input, found, creates) {
    const place = input.closest(".rule").querySelector(".missing");
    const name = input.value.trim();
    const boxes = [...rules.querySelectorAll("[name=create]")].filter((box) => box.value === name);
    const elsewhere = boxes.find((box) => !place.contains(box));
    const checked = creates || boxes.some((box) => box.checked);
    const left = place.querySelector("[name=create]");
    place.replaceChildren();
    if (left && left.value !== name) handOver(left);
    input.removeAttribute("aria-describedby");
    input.removeAttribute("aria-invalid");
    if (!name || !found.missing) return;
    const sentence = document.createElement("p");
    const like = found.like.length ? ` Did you mean ${found.like.join(" or ")}?` : "";
    const other = elsewhere ? " Another row says whether it is made." : "";
    sentence.textContent = `There is no group '${name}'.${like}${other}`;
    place.append(sentence);
    place.id ||= `missing-${++described}`;
    input.setAttribute("aria-describedby", place.id);
    if (elsewhere) {
      elsewhere.checked = checked;
      return;
    }
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", name: "create", value: name, checked });
    const label = document.createElement("label");
    label.append(box, ` Create "${name}"`);
    place.append(label);
  }

  form.addEventListener("input", (event) => {
    if (event.target.name !== "group") return;
    clearTimeout(soon);
    soon = setTimeout(open, 100, event.target);
  });
  form.addEventListener("change", async (event) => {
    const input = event.target;
    if (input.name !== "group") return;
    const name = input.value.trim();
    const found = await ask(name);
    if (found && name === input.value.trim()) showMissing(input, found, false);
  });
  form.addEventListener("focusout", (event) => {
    if (event.target === owner) close();
  });
  form.addEventListener("keydown", (event) => {
    const input = event.target;
    if (input.name !== "group") return;
    const options = [...list.children];
    const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (owner !== input) return void open(input);
      const step = event.key === "ArrowDown" ? 1 : -1;
      mark(options[(at + step + options.length + (at < 0 && step < 0 ? 1 : 0)) % options.length]);
    } else if (event.key === "Escape" && owner === input) {
      event.preventDefault();
      close();
    } else if (event.key === "Enter" && owner === input && at >= 0) {
      event.preventDefault();
      choose(options[at]);
    } else if (event.key === "Tab" && owner === input && at >= 0) {
      choose(options[at]);
    }
  });
  // Pressing the button of the mouse must not take the focus from the field.
  list.addEventListener("mousedown", (event) => {
    event.preventDefault();
    const option = event.target.closest("[role=option]");
    if (option) choose(option);
  });

  for (const row of rules.children) prepare(row);
}
