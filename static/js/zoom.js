// Zoom and pan of the picture on the stage: wheel, double click or tap, pinch, keys, and dragging.

const MOST = 8;
const STEP = 1.5;
const DOUBLE_TAP_MS = 300;
const SWIPE_PX = 60;

// `onSwipe(direction)` is told of a swipe to the older (1) or newer (-1) photo. Returns { by, reset, scale }.
export function startZoom(stage, { onSwipe }) {
  const layer = stage.querySelector(".stage-picture");
  const image = layer?.querySelector(".preview");
  const pointers = new Map();
  let [scale, x, y] = [1, 0, 0];
  let pinch = null;
  let swipe = null;
  let lastTap = 0;
  let moved = false;

  function apply() {
    const { clientWidth: width, clientHeight: height } = stage;
    scale = Math.min(MOST, Math.max(1, scale));
    const [roomX, roomY] = [((scale - 1) * width) / 2, ((scale - 1) * height) / 2];
    x = Math.min(roomX, Math.max(-roomX, x));
    y = Math.min(roomY, Math.max(-roomY, y));
    layer.style.transform = scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${scale})`;
    stage.classList.toggle("zoomed", scale > 1);
    stage.dataset.scale = scale.toFixed(2);
    if (scale > 1.3) sharpen();
  }

  // Zooms in by `factor`, with the point at (clientX, clientY) staying where it is.
  function zoomAt(factor, clientX, clientY) {
    const box = stage.getBoundingClientRect();
    const [px, py] = [clientX - box.left - box.width / 2, clientY - box.top - box.height / 2];
    const next = Math.min(MOST, Math.max(1, scale * factor));
    const share = next / scale;
    [x, y, scale] = [px - (px - x) * share, py - (py - y) * share, next];
    apply();
  }

  function by(factor) {
    const box = stage.getBoundingClientRect();
    zoomAt(factor, box.left + box.width / 2, box.top + box.height / 2);
  }

  function reset() {
    [scale, x, y] = [1, 0, 0];
    apply();
  }

  // Closer than the preview is sharp, the original takes its place.
  function sharpen() {
    const { original } = image.dataset;
    if (!original) return;
    delete image.dataset.original;
    const sharp = new Image();
    sharp.src = original;
    sharp.decode().then(() => { image.src = original; }, () => {});
  }

  if (layer) {
    layer.classList.add("animated");
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      layer.classList.remove("animated");
      zoomAt(Math.exp(-event.deltaY * (event.deltaMode ? 0.06 : 0.002)), event.clientX, event.clientY);
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => {
      if (event.target.closest("a, button")) return;
      toggleAt(event.clientX, event.clientY);
    });
    stage.addEventListener("click", (event) => {
      const button = event.target.closest("[data-zoom]");
      if (!button) return;
      layer.classList.add("animated");
      by(button.dataset.zoom === "in" ? STEP : 1 / STEP);
    });
  }

  function toggleAt(clientX, clientY) {
    layer.classList.add("animated");
    if (scale > 1) reset();
    else zoomAt(2.5, clientX, clientY);
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button")) return;
    const onLink = event.target.closest("a");
    if (onLink && event.pointerType !== "touch") return;
    pointers.set(event.pointerId, event);
    moved = false;
    if (pointers.size === 1) swipe = { clientX: event.clientX, clientY: event.clientY };
    if (pointers.size === 2) {
      swipe = null;
      pinch = distance();
      layer?.classList.remove("animated");
    }
    if (scale > 1 && !onLink) stage.setPointerCapture(event.pointerId);
  });

  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before || !layer) return;
    pointers.set(event.pointerId, event);
    if (pointers.size === 2) {
      const now = distance();
      const [first, second] = pointers.values();
      zoomAt(now / pinch, (first.clientX + second.clientX) / 2, (first.clientY + second.clientY) / 2);
      pinch = now;
      moved = true;
    } else if (scale > 1) {
      layer.classList.remove("animated");
      x += event.clientX - before.clientX;
      y += event.clientY - before.clientY;
      moved ||= Math.hypot(event.movementX, event.movementY) > 2;
      apply();
    }
  });

  stage.addEventListener("pointerup", (event) => {
    if (!pointers.delete(event.pointerId)) return;
    const started = swipe;
    swipe = null;
    if (pointers.size || !started || event.pointerType !== "touch") return;
    const [dx, dy] = [event.clientX - started.clientX, event.clientY - started.clientY];
    if (scale === 1 && Math.abs(dx) >= SWIPE_PX && Math.abs(dx) > 2 * Math.abs(dy)) {
      onSwipe(dx > 0 !== (document.documentElement.dir === "rtl") ? -1 : 1);
    } else if (layer && Math.hypot(dx, dy) < 12 && !event.target.closest("a, button")) {
      if (event.timeStamp - lastTap < DOUBLE_TAP_MS) {
        toggleAt(event.clientX, event.clientY);
        lastTap = 0;
      } else lastTap = event.timeStamp;
    }
  });
  stage.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    swipe = null;
  });
  // The end of a drag is no click on what lies below.
  stage.addEventListener("click", (event) => {
    if (!moved) return;
    moved = false;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  function distance() {
    const [first, second] = pointers.values();
    return Math.max(1, Math.hypot(first.clientX - second.clientX, first.clientY - second.clientY));
  }

  return {
    by: (factor) => {
      if (!layer) return;
      layer.classList.add("animated");
      by(factor);
    },
    reset: () => layer && reset(),
    get scale() {
      return scale;
    },
  };
}

export { STEP };
