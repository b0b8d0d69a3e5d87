"use strict";
(() => {
  // Titles give hover values without scripts; with them, labels and one readable tooltip replace them.
  for (const title of document.querySelectorAll("svg.panel title")) {
    const owner = title.parentNode;
    owner.setAttribute("aria-label", title.textContent);
    owner.removeAttribute("aria-labelledby");
    title.remove();
  }
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  let shown = null;

  const hide = () => {
    if (shown) shown.classList.remove("on");
    shown = null;
    tip.hidden = true;
  };
  const show = (point) => {
    if (point === shown) return;
    hide();
    shown = point;
    point.classList.add("on");
    tip.textContent = point.getAttribute("aria-label");
    tip.hidden = false;
    const at = point.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const x = Math.min(Math.max(8, at.left + at.width / 2 - box.width / 2), innerWidth - box.width - 8);
    const above = at.top - box.height - 10;
    tip.style.left = `${x}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 10}px`;
  };
  const nearest = (points, x, y) => {
    let best = null;
    let distance = 26 * 26;
    for (const point of points) {
      const d = (point.dataset.x - x) ** 2 + (point.dataset.y - y) ** 2;
      if (d < distance) [best, distance] = [point, d];
    }
    return best;
  };
  const lines = (svg) =>
    [...svg.querySelectorAll("g.series:not(.dim)")]
      .map((group) => [...group.querySelectorAll(".pt")])
      .filter((points) => points.length > 0);

  for (const svg of document.querySelectorAll("svg.panel")) {
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const point = nearest(lines(svg).flat(), at.x, at.y);
      if (point) show(point);
      else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusin", (event) => {
      if (event.target.matches(".pt")) show(event.target);
    });
    svg.addEventListener("focusout", hide);
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      const all = lines(svg);
      if (!step || all.length === 0) return;
      event.preventDefault();
      const row = all.findIndex((points) => points.includes(document.activeElement));
      if (row < 0) return all[0][0].focus();
      const column = all[row].indexOf(document.activeElement);
      const next = all[(row + step[0] + all.length) % all.length];
      next[Math.min(Math.max(column + step[1], 0), next.length - 1)].focus();
    });
  }
  addEventListener("scroll", hide, { passive: true });

  for (const figure of document.querySelectorAll("figure")) {
    const buttons = [...figure.querySelectorAll(".legend button")];
    const update = () => {
      const chosen = buttons.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.name);
      for (const part of figure.querySelectorAll("[data-name]:not(button)")) {
        part.classList.toggle("dim", chosen.length > 0 && !chosen.includes(part.dataset.name));
      }
    };
    for (const button of buttons) {
      button.disabled = false;
      button.title = "Show only the chosen lines";
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        update();
      });
    }
  }
})();
