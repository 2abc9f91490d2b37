// The bar at the right of a timeline: years and months in proportion, to drag or to move by the keyboard.

const YEAR_PX = 22; // between two years that are written
const MONTH_PX = 6;
const HIDE_MS = 1400;

export function startScrubber(bar) {
  const years = bar.querySelector(".scrubber-years");
  const handle = bar.querySelector(".scrubber-handle");
  const label = bar.querySelector(".scrubber-label");
  let months = [];
  let nameOf = () => "";
  let gridTop = 0;
  let current = 0;
  let dragging = false;
  let hiding = null;
  let lastScroll = null;

  // The scroll positions between which the bar moves.
  const end = () => Math.max(1, document.documentElement.scrollHeight - innerHeight);
  const height = () => bar.clientHeight;

  function setLayout(layout, { gridTop: top, monthName }) {
    months = layout.months;
    nameOf = monthName;
    gridTop = top;
    bar.hidden = layout.height < innerHeight * 1.6 || months.length === 0;
    if (bar.hidden) return;
    bar.setAttribute("aria-valuemin", 0);
    bar.setAttribute("aria-valuemax", months.length - 1);
    draw();
    setScroll(scrollY);
  }

  function draw() {
    years.replaceChildren();
    let lastYear = -Infinity;
    let lastTick = -Infinity;
    let year = "";
    for (const { month, top } of months) {
      const y = Math.min(1, Math.max(0, gridTop + top - 60) / end()) * height();
      const mark = document.createElement("span");
      if (month.slice(0, 4) !== year && y - lastYear >= YEAR_PX) {
        mark.className = "scrubber-year";
        mark.textContent = month.slice(0, 4);
        lastYear = y;
      } else if (y - lastTick >= MONTH_PX && y - lastYear >= 16) {
        mark.className = "scrubber-month";
      } else {
        year = month.slice(0, 4);
        continue;
      }
      year = month.slice(0, 4);
      lastTick = y;
      mark.style.top = `${y}px`;
      years.append(mark);
    }
  }

  function monthAt(scroll) {
    let found = 0;
    for (let i = 0; i < months.length && gridTop + months[i].top - 120 <= scroll; i += 1) found = i;
    return found;
  }

  function setScroll(scroll) {
    if (bar.hidden || !months.length) return;
    const y = Math.min(1, scroll / end()) * height();
    handle.style.transform = `translateY(${y}px)`;
    label.style.transform = `translateY(${y}px)`;
    const at = monthAt(scroll);
    if (at !== current || !label.textContent) {
      current = at;
      label.textContent = nameOf(months[at].month);
      bar.setAttribute("aria-valuenow", at);
      bar.setAttribute("aria-valuetext", label.textContent);
    }
    if (scroll === lastScroll) return;
    if (lastScroll !== null) {
      bar.classList.add("moving");
      clearTimeout(hiding);
      hiding = setTimeout(() => dragging || bar.classList.remove("moving"), HIDE_MS);
    }
    lastScroll = scroll;
  }

  const goTo = (month) => scrollTo(scrollX, month === 0 ? 0 : gridTop + months[month].top - 76);

  function drag(event) {
    const share = (event.clientY - bar.getBoundingClientRect().top) / height();
    scrollTo(scrollX, Math.min(1, Math.max(0, share)) * end());
  }

  bar.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    dragging = true;
    bar.classList.add("dragging");
    bar.setPointerCapture(event.pointerId);
    drag(event);
  });
  bar.addEventListener("pointermove", (event) => {
    if (dragging) drag(event);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    bar.addEventListener(name, () => {
      dragging = false;
      bar.classList.remove("dragging");
      setScroll(scrollY);
    });
  }

  bar.addEventListener("keydown", (event) => {
    const last = months.length - 1;
    const sameYear = (month) => months[month].month.slice(0, 4) === months[current].month.slice(0, 4);
    const nextYear = (step) => {
      let at = current;
      while (at + step >= 0 && at + step <= last && sameYear(at)) at += step;
      return at;
    };
    const target = {
      ArrowDown: () => Math.min(last, current + 1), ArrowRight: () => Math.min(last, current + 1),
      ArrowUp: () => Math.max(0, current - 1), ArrowLeft: () => Math.max(0, current - 1),
      PageDown: () => nextYear(1), PageUp: () => nextYear(-1), Home: () => 0, End: () => last,
    }[event.key];
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
    const month = target();
    goTo(month);
    setScroll(scrollY);
  });

  addEventListener("resize", () => bar.hidden || draw());

  return { setLayout, setScroll };
}
