// The view: before and after in one canvas, under one zoom, so that they move in step.
//
// Everything is drawn from whole pictures with drawImage: the strength is the opacity of the result
// with references over the one without, which is exactly their blend, and costs nothing to change.

const CLOSE = 26; // CSS pixels around the line that belong to it
const MOST_ZOOM = 16;
const LENS = { width: 300, height: 170 };

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.changed = changed; // told when the zoom or the line moved
    this.pictures = null;
    this.size = [1, 1]; // pixels of the result
    this.zoom = 1; // CSS pixels per pixel of the result
    this.centre = [0.5, 0.5]; // place of the result in the middle of the view
    this.divider = 0.5; // of the view's width
    this.strength = 1;
    this.compare = "before";
    this.map = false;
    this.lens = false;
    this.at = null; // where the pointer is, CSS pixels
    this.pointers = new Map();
    this.followed = true; // whether the whole photo stays in view when the window changes
    this.dragging = null; // "line" or "photo"
    this.before = 0.5; // the line, before it was dragged
    this.asked = 0;
    new ResizeObserver(() => this.resized()).observe(canvas);
    this.listen();
  }

  show(pictures, size) {
    this.pictures = pictures;
    this.size = size;
    this.divider = 0.5;
    this.at = null;
    this.fit();
  }

  get box() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  get fitting() {
    const [width, height] = this.box;
    return Math.min(width / this.size[0], height / this.size[1]);
  }

  get fits() {
    return this.zoom <= this.fitting * 1.001;
  }

  resized() {
    if (!this.pictures || !this.box[0]) return; // not shown
    if (this.followed) this.zoom = this.fitting;
    this.settle();
  }

  fit() {
    this.zoom = this.fitting;
    this.centre = [this.size[0] / 2, this.size[1] / 2];
    this.settle();
  }

  // Zoom so that the place under a point of the view stays there.
  zoomTo(zoom, at = [this.box[0] / 2, this.box[1] / 2]) {
    const least = Math.min(this.fitting, 1);
    const next = Math.min(MOST_ZOOM, Math.max(least, zoom));
    const [x, y] = this.placeOf(at);
    this.centre[0] = x - (at[0] - this.box[0] / 2) / next;
    this.centre[1] = y - (at[1] - this.box[1] / 2) / next;
    this.zoom = next;
    this.settle();
  }

  pan(dx, dy) {
    this.centre[0] -= dx / this.zoom;
    this.centre[1] -= dy / this.zoom;
    this.settle();
  }

  moveLine(share) {
    this.divider = Math.min(1, Math.max(0, share));
    this.settle();
  }

  // Keep the photo in the view, and draw soon.
  settle() {
    this.followed = this.fits;
    for (const axis of [0, 1]) {
      const half = this.box[axis] / this.zoom / 2;
      const length = this.size[axis];
      const low = Math.min(half, length / 2);
      this.centre[axis] = Math.min(length - low, Math.max(low, this.centre[axis]));
    }
    this.canvas.classList.toggle("zoomed", !this.fits);
    this.changed(this);
    this.redraw();
  }

  redraw() {
    if (!this.asked) this.asked = requestAnimationFrame(() => ((this.asked = 0), this.draw()));
  }

  placeOf(point) {
    const [width, height] = this.box;
    return [
      this.centre[0] + (point[0] - width / 2) / this.zoom,
      this.centre[1] + (point[1] - height / 2) / this.zoom,
    ];
  }

  // ---- drawing

  draw() {
    const { canvas, context } = this;
    const dense = window.devicePixelRatio || 1;
    const [width, height] = this.box;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.pictures) return;
    const line = this.divider * width;
    this.part([0, 0, line, height], [width / 2, height / 2], this.centre, this.zoom, "before");
    this.part([line, 0, width - line, height], [width / 2, height / 2], this.centre, this.zoom, "after");
    this.drawLine(line, height);
    if (this.lens) this.drawLens(this.at ?? [width / 2, height / 2]);
  }

  // One side of the comparison within a rectangle; `centre` of the result lies at `middle`.
  part([x, y, width, height], middle, centre, zoom, side) {
    if (width <= 0) return;
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    const pixelated = zoom * (window.devicePixelRatio || 1) >= 4;
    context.imageSmoothingEnabled = !pixelated || side === "before";
    context.imageSmoothingQuality = "high";
    const [w, h] = [this.size[0] * zoom, this.size[1] * zoom];
    const place = [middle[0] - centre[0] * zoom, middle[1] - centre[1] * zoom, w, h];
    if (side === "before") {
      context.drawImage(this.pictures[this.compare] ?? this.pictures.before, ...place);
    } else {
      const { plain, result } = this.pictures;
      if (plain) context.drawImage(plain, ...place);
      context.globalAlpha = plain ? this.strength : 1;
      context.drawImage(result, ...place);
      if (this.map) {
        context.globalAlpha = 0.62;
        context.imageSmoothingEnabled = true;
        context.drawImage(this.pictures.map, ...place);
      }
    }
    context.restore();
  }

  drawLine(x, height) {
    const { context } = this;
    context.fillStyle = "rgb(0 0 0 / .45)";
    context.fillRect(x - 2, 0, 4, height);
    context.fillStyle = "#fff";
    context.fillRect(x - 1, 0, 2, height);
    const y = height / 2;
    context.beginPath();
    context.arc(x, y, 17, 0, 7);
    context.fillStyle = "#fff";
    context.shadowColor = "rgb(0 0 0 / .5)";
    context.shadowBlur = 6;
    context.fill();
    context.shadowBlur = 0;
    context.strokeStyle = "#23282b";
    context.lineWidth = 2;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    for (const way of [-1, 1]) {
      context.moveTo(x + way * 5, y - 5);
      context.lineTo(x + way * 10, y);
      context.lineTo(x + way * 5, y + 5);
    }
    context.stroke();
  }

  // The same place of both sides, beside each other, at 100 %.
  drawLens(at) {
    const { context } = this;
    const [width, height] = this.box;
    const size = [Math.min(LENS.width, width - 20), LENS.height];
    const place = this.placeOf(at);
    const left = Math.min(width - size[0] - 10, Math.max(10, at[0] - size[0] / 2));
    const above = at[1] - size[1] - 28;
    const top = above > 10 ? above : Math.min(height - size[1] - 10, at[1] + 28);
    const half = size[0] / 2;
    context.save();
    context.beginPath();
    context.roundRect(left, top, ...size, 10);
    context.fillStyle = "#23282b";
    context.shadowColor = "rgb(0 0 0 / .6)";
    context.shadowBlur = 14;
    context.fill();
    context.shadowBlur = 0;
    context.clip();
    for (const [index, side] of ["before", "after"].entries()) {
      const x = left + index * half;
      this.part([x, top, half, size[1]], [x + half / 2, top + size[1] / 2], place, 1, side);
    }
    context.fillStyle = "#fff";
    context.fillRect(left + half - 1, top, 2, size[1]);
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = "rgb(15 20 22 / .78)";
    context.fillRect(left + half - 26, top + size[1] - 20, 52, 20);
    context.fillStyle = "#fff";
    context.textAlign = "center";
    context.fillText("100 %", left + half, top + size[1] - 6);
    context.restore();
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.beginPath();
    context.roundRect(left, top, ...size, 10);
    context.stroke();
    context.beginPath();
    context.arc(...at, 4, 0, 7);
    context.stroke();
  }

  // ---- hands

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => {
      this.putBack(); // the browser scrolls the page instead
      this.up(event);
    });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (this.fits) this.zoomTo(1, [event.offsetX, event.offsetY]);
      else this.fit();
    });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = [event.offsetX, event.offsetY];
    this.pointers.set(event.pointerId, at);
    const near = Math.abs(at[0] - this.divider * this.box[0]) < CLOSE;
    if (this.pointers.size > 1) this.putBack(); // a pinch: its first finger did not mean the line
    this.before = this.divider;
    this.dragging = this.pointers.size > 1 || this.lens || (!near && !this.fits) ? "photo" : "line";
    if (this.dragging === "line") this.moveLine(at[0] / this.box[0]);
    this.look(at);
  }

  move(event) {
    const at = [event.offsetX, event.offsetY];
    const from = this.pointers.get(event.pointerId);
    if (from) {
      if (this.pointers.size === 2) this.pinch(event.pointerId, from, at);
      else if (this.dragging === "line") this.moveLine(at[0] / this.box[0]);
      else if (!(this.lens && event.pointerType === "touch")) this.pan(at[0] - from[0], at[1] - from[1]);
      this.pointers.set(event.pointerId, at);
    }
    this.look(at);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.dragging = null;
  }

  putBack() {
    if (this.dragging === "line") this.moveLine(this.before);
    this.dragging = null;
  }

  look(at) {
    this.at = at;
    if (this.lens) this.redraw();
  }

  pinch(id, from, at) {
    const other = [...this.pointers].find(([key]) => key !== id)[1];
    const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [before, after] = [middle(from, other), middle(at, other)];
    this.pan(after[0] - before[0], after[1] - before[1]);
    this.zoomTo((this.zoom * distance(at, other)) / distance(from, other), after);
  }

  wheel(event) {
    if (this.fits && event.deltaY > 0) return; // nothing to zoom out of: the page scrolls on
    event.preventDefault();
    const step = event.deltaMode ? event.deltaY * 30 : event.deltaY;
    this.zoomTo(this.zoom * Math.exp(-step / 400), [event.offsetX, event.offsetY]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [width, height] = this.box;
    const actions = {
      ArrowLeft: () => this.pan(width / 8, 0),
      ArrowRight: () => this.pan(-width / 8, 0),
      ArrowUp: () => this.pan(0, height / 8),
      ArrowDown: () => this.pan(0, -height / 8),
      "+": () => this.zoomTo(this.zoom * 1.25),
      "=": () => this.zoomTo(this.zoom * 1.25),
      "-": () => this.zoomTo(this.zoom / 1.25),
      0: () => this.fit(),
      1: () => this.zoomTo(1),
      "[": () => this.moveLine(this.divider - 0.02),
      "]": () => this.moveLine(this.divider + 0.02),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
