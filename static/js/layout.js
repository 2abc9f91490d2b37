// Where each photo of a timeline goes. Rows fill the width without cropping; a day that fills no row
// stands beside the next ones. Nothing here touches the document, so that it can be measured alone.

// As gallery/timeline.py writes a shape: width to height in thirtieths, after "!".
const STEPS = 30;
const FIRST_CHARACTER = 33;
// A last row that is nearly full is stretched to the width.
const NEARLY_FULL = 0.86;

export function measures(width) {
  const phone = width < 620;
  return {
    width,
    gap: phone ? 3 : 4,
    rowHeight: phone ? 112 : width < 1200 ? 180 : width < 2000 ? 212 : 250,
    monthHead: phone ? 48 : 60,
    dayHead: phone ? 34 : 38,
    dayFoot: phone ? 10 : 14,
    between: phone ? 12 : 20,
    narrowest: phone ? 112 : 132,
  };
}

// `days` is [[day, shapes], …] with a character a photo, the newest first. Returns for each photo its
// place in the timeline (px), for each day its first photo and its place, and the months.
export function layOut(days, sizes) {
  const total = days.reduce((sum, [, shapes]) => sum + shapes.length, 0);
  const layout = {
    total,
    lefts: new Int32Array(total),
    tops: new Int32Array(total),
    widths: new Int32Array(total),
    heights: new Int32Array(total),
    days: [],
    months: [],
    height: 0,
  };
  const { width, rowHeight, gap, monthHead, dayHead, dayFoot, between, narrowest } = sizes;
  let y = 0; // of the current line
  let x = 0; // where the next day of the line goes; 0 at its start
  let index = 0;
  let month = "";

  const endLine = () => {
    if (x > 0) y += dayHead + rowHeight + dayFoot;
    x = 0;
  };

  // Puts photos from..to into one row of that height; the edges are on whole pixels.
  const putRow = (shapes, from, to, left, top, height) => {
    let edge = left;
    for (let i = from; i < to; i += 1) {
      const next = edge + ratio(shapes, i) * height;
      const at = Math.round(edge);
      layout.lefts[index] = at;
      layout.tops[index] = Math.round(top);
      layout.widths[index] = Math.round(next) - at;
      layout.heights[index] = Math.round(top + height) - Math.round(top);
      index += 1;
      edge = next + gap;
    }
  };

  for (const [day, shapes] of days) {
    if (day.slice(0, 7) !== month) {
      endLine();
      month = day.slice(0, 7);
      layout.months.push({ month, top: y, first: index });
      y += monthHead;
    }
    const count = shapes.length;
    let sum = 0;
    for (let i = 0; i < count; i += 1) sum += ratio(shapes, i);
    const natural = sum * rowHeight + gap * (count - 1);
    if (natural <= width) {
      const taken = Math.max(natural, narrowest);
      if (x > 0 && x + taken > width) endLine();
      layout.days.push({ day, first: index, count, left: x, top: y, width: Math.round(taken), height: dayHead + rowHeight });
      putRow(shapes, 0, count, x, y + dayHead, rowHeight);
      x += taken + between;
      continue;
    }
    endLine();
    const entry = { day, first: index, count, left: 0, top: y, width, height: 0 };
    layout.days.push(entry);
    let top = y + dayHead;
    for (let from = 0; from < count; ) {
      const [to, height] = nextRow(shapes, from, width, rowHeight, gap);
      putRow(shapes, from, to, 0, top, height);
      top += height + gap;
      from = to;
    }
    y = Math.round(top - gap);
    entry.height = y - entry.top;
    y += dayFoot;
  }
  endLine();
  layout.height = y;
  return layout;
}

function ratio(shapes, i) {
  return (shapes.charCodeAt(i) - FIRST_CHARACTER) / STEPS;
}

// Where the row that starts at `from` ends, and how high it is.
function nextRow(shapes, from, width, rowHeight, gap) {
  let sum = 0;
  let before = Infinity;
  for (let i = from; i < shapes.length; i += 1) {
    sum += ratio(shapes, i);
    const height = (width - gap * (i - from)) / sum;
    if (height <= rowHeight) {
      // Whichever is closer to the height that is wanted: with this photo, or without it.
      return before - rowHeight < rowHeight - height ? [i, before] : [i + 1, height];
    }
    before = height;
  }
  return [shapes.length, rowHeight >= before * NEARLY_FULL ? before : rowHeight];
}

// The first index from..to for which `isAfter` holds; it has to hold for all that follow.
export function firstWhere(from, to, isAfter) {
  let [low, high] = [from, to];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isAfter(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
