// The comparison view: before and after in one canvas, with a common zoom and pan.
//
// Whole images are drawn with drawImage: the strength is the opacity of the result with references
// over the one without. That is exactly their blend, and it can change without a request.

const GRAB = 26; // CSS pixels around the divider in which it can be dragged
const MAX_ZOOM = 16;
const LIFT = 0.4; // white over the map's gray: tints are told apart in dark places, too
const LENS = { width: 300, height: 170 };

export class Viewer {
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.onChange = onChange; // called when the zoom or the divider has changed
    this.images = null;
    this.size = [1, 1]; // pixels of the result
    this.zoom = 1; // CSS pixels per pixel of the result; see fullZoom
    this.centre = [0.5, 0.5]; // pixel of the result at the centre of the view
    this.divider = 0.5; // of the view's width
    this.strength = 1;
    this.compare = "before";
    this.map = false;
    this.lens = false;
    this.pointer = null; // its position, CSS pixels
    this.pointers = new Map();
    this.keepFit = true; // whether the whole photo stays in view when the window is resized
    this.dragging = null; // "divider" or "photo"
    this.dividerBeforeDrag = 0.5;
    this.frame = 0; // the requested animation frame
    new ResizeObserver(() => this.resized()).observe(canvas);
    this.listen();
  }

  show(images, size) {
    this.images = images;
    this.size = size;
    this.divider = 0.5;
    this.pointer = null;
    this.fit();
  }

  get viewSize() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  get fitZoom() {
    const [width, height] = this.viewSize;
    return Math.min(width / this.size[0], height / this.size[1]);
  }

  // 100 %: a pixel of the result is a pixel of the screen.
  get fullZoom() {
    return 1 / (window.devicePixelRatio || 1);
  }

  get percent() {
    return (100 * this.zoom) / this.fullZoom;
  }

  get isFit() {
    return this.zoom <= this.fitZoom * 1.001;
  }

  resized() {
    if (!this.images || !this.viewSize[0]) return; // hidden
    if (this.keepFit) this.zoom = this.fitZoom;
    this.update();
  }

  fit() {
    this.zoom = this.fitZoom;
    this.centre = [this.size[0] / 2, this.size[1] / 2];
    this.update();
  }

  // Zoom while the pixel at a point of the view stays where it is.
  zoomTo(zoom, at = [this.viewSize[0] / 2, this.viewSize[1] / 2]) {
    const least = Math.min(this.fitZoom, this.fullZoom);
    const next = Math.min(MAX_ZOOM, Math.max(least, zoom));
    const [x, y] = this.toImage(at);
    this.centre[0] = x - (at[0] - this.viewSize[0] / 2) / next;
    this.centre[1] = y - (at[1] - this.viewSize[1] / 2) / next;
    this.zoom = next;
    this.update();
  }

  pan(dx, dy) {
    this.centre[0] -= dx / this.zoom;
    this.centre[1] -= dy / this.zoom;
    this.update();
  }

  setDivider(share) {
    this.divider = Math.min(1, Math.max(0, share));
    this.update();
  }

  // Keep the photo inside the view and redraw.
  update() {
    this.keepFit = this.isFit;
    for (const axis of [0, 1]) {
      const half = this.viewSize[axis] / this.zoom / 2;
      const length = this.size[axis];
      const low = Math.min(half, length / 2);
      this.centre[axis] = Math.min(length - low, Math.max(low, this.centre[axis]));
    }
    this.canvas.classList.toggle("zoomed", !this.isFit);
    this.onChange(this);
    this.redraw();
  }

  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => ((this.frame = 0), this.draw()));
  }

  toImage(point) {
    const [width, height] = this.viewSize;
    return [
      this.centre[0] + (point[0] - width / 2) / this.zoom,
      this.centre[1] + (point[1] - height / 2) / this.zoom,
    ];
  }

  // ---- drawing

  draw() {
    const { canvas, context } = this;
    const dense = window.devicePixelRatio || 1;
    const [width, height] = this.viewSize;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(height * dense);
    }
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.images) return;
    const divider = this.divider * width;
    this.drawSide([0, 0, divider, height], [width / 2, height / 2], this.centre, this.zoom, "before");
    this.drawSide([divider, 0, width - divider, height], [width / 2, height / 2], this.centre, this.zoom, "after");
    this.drawDivider(divider, height);
    if (this.lens) this.drawLens(this.pointer ?? [width / 2, height / 2]);
  }

  // Draw one side of the comparison in a rectangle, with the pixel `centre` at `middle`.
  drawSide([x, y, width, height], middle, centre, zoom, side) {
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
    const target = [middle[0] - centre[0] * zoom, middle[1] - centre[1] * zoom, w, h];
    if (side === "before") {
      context.drawImage(this.images[this.compare] ?? this.images.before, ...target);
    } else {
      const { plain, result } = this.images;
      if (plain) context.drawImage(plain, ...target);
      context.globalAlpha = plain ? this.strength : 1;
      context.drawImage(result, ...target);
      if (this.map) {
        this.tint(target);
      }
    }
    context.restore();
  }

  // The map: the result in light gray, multiplied with the tints, so that they are the legend's.
  tint(target) {
    const { context } = this;
    context.globalAlpha = 1;
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(...target);
    context.globalCompositeOperation = "source-over";
    context.fillStyle = `rgb(255 255 255 / ${LIFT})`;
    context.fillRect(...target);
    context.globalCompositeOperation = "multiply";
    context.imageSmoothingEnabled = true;
    context.drawImage(this.images.map, ...target);
  }

  drawDivider(x, height) {
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

  // The same region of both sides, side by side at 100 %.
  drawLens(at) {
    const { context } = this;
    const [width, height] = this.viewSize;
    const size = [Math.min(LENS.width, width - 20), LENS.height];
    const centre = this.toImage(at);
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
      this.drawSide([x, top, half, size[1]], [x + half / 2, top + size[1] / 2], centre, this.fullZoom, side);
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

  // ---- input

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => {
      this.restoreDivider(); // the browser scrolls the page instead
      this.up(event);
    });
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (this.isFit) this.zoomTo(this.fullZoom, [event.offsetX, event.offsetY]);
      else this.fit();
    });
  }

  down(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    const at = [event.offsetX, event.offsetY];
    this.pointers.set(event.pointerId, at);
    const near = Math.abs(at[0] - this.divider * this.viewSize[0]) < GRAB;
    if (this.pointers.size > 1) this.restoreDivider(); // a pinch: undo what its first finger moved
    this.dividerBeforeDrag = this.divider;
    this.dragging = this.pointers.size > 1 || this.lens || (!near && !this.isFit) ? "photo" : "divider";
    if (this.dragging === "divider") this.setDivider(at[0] / this.viewSize[0]);
    this.movePointer(at);
  }

  move(event) {
    const at = [event.offsetX, event.offsetY];
    const from = this.pointers.get(event.pointerId);
    if (from) {
      if (this.pointers.size === 2) this.pinch(event.pointerId, from, at);
      else if (this.dragging === "divider") this.setDivider(at[0] / this.viewSize[0]);
      else if (!(this.lens && event.pointerType === "touch")) this.pan(at[0] - from[0], at[1] - from[1]);
      this.pointers.set(event.pointerId, at);
    }
    this.movePointer(at);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (!this.pointers.size) this.dragging = null;
  }

  restoreDivider() {
    if (this.dragging === "divider") this.setDivider(this.dividerBeforeDrag);
    this.dragging = null;
  }

  movePointer(at) {
    this.pointer = at;
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
    if (this.isFit && event.deltaY > 0) return; // fully zoomed out: scroll the page
    event.preventDefault();
    const step = event.deltaMode ? event.deltaY * 30 : event.deltaY;
    this.zoomTo(this.zoom * Math.exp(-step / 400), [event.offsetX, event.offsetY]);
  }

  key(event) {
    const [width, height] = this.viewSize;
    const actions = {
      ArrowLeft: () => this.pan(width / 8, 0),
      ArrowRight: () => this.pan(-width / 8, 0),
      ArrowUp: () => this.pan(0, height / 8),
      ArrowDown: () => this.pan(0, -height / 8),
      "+": () => this.zoomTo(this.zoom * 1.25),
      "=": () => this.zoomTo(this.zoom * 1.25),
      "-": () => this.zoomTo(this.zoom / 1.25),
      0: () => this.fit(),
      1: () => this.zoomTo(this.fullZoom),
      "[": () => this.setDivider(this.divider - 0.02),
      "]": () => this.setDivider(this.divider + 0.02),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }
}
