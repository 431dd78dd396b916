// The tile of a chosen photo, and the outlines of the matching region on it.

const SVG = "http://www.w3.org/2000/svg";
const LINE = "#5ff0d0"; // visible on nearly every photo, with its dark casing

export function tile(file, badge, remove) {
  const element = document.createElement("div");
  element.className = "tile";
  const frame = document.createElement("div");
  frame.className = "frame";
  const image = new Image();
  image.alt = file.name;
  image.onerror = () => frame.classList.add("blank"); // the server reads more formats than a browser
  image.onload = () => {
    frame.classList.remove("blank");
    frame.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  };
  image.src = URL.createObjectURL(file);
  frame.append(image);
  if (badge) {
    frame.append(Object.assign(document.createElement("span"), { className: "badge", textContent: badge }));
  }
  const button = Object.assign(document.createElement("button"), { type: "button", className: "remove", textContent: "×" });
  button.setAttribute("aria-label", `Remove ${file.name}`);
  button.addEventListener("click", () => {
    URL.revokeObjectURL(image.src);
    remove();
  });
  frame.append(button);
  const caption = document.createElement("p");
  caption.className = "caption";
  const name = Object.assign(document.createElement("b"), { textContent: file.name });
  const words = Object.assign(document.createElement("span"), { className: "words" });
  caption.append(name, document.createElement("br"), words);
  element.append(frame, caption);
  image.decode().then(() => (words.textContent ||= `${image.naturalWidth} × ${image.naturalHeight}`)).catch(() => {});
  return element;
}

// Draw the outlines of the matching region and, if `shade`, darken the rest. `lines` are polygons
// with points from 0 to 1.
export function drawOutlines(element, lines, shade = true) {
  element.querySelector("svg")?.remove();
  if (!lines.length) return;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 1 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const closed = lines.map((line) => `M${line.map((xy) => xy.join(" ")).join("L")}Z`).join("");
  for (const [kind, path] of [
    ["shade", shade ? `M0 0H1V1H0Z${closed}` : null],
    ["casing", closed],
    ["line", closed],
  ]) {
    if (!path) continue;
    const drawn = document.createElementNS(SVG, "path");
    drawn.setAttribute("d", path);
    drawn.setAttribute("class", kind);
    if (kind === "line") {
      drawn.setAttribute("stroke", LINE);
      drawn.setAttribute("stroke-width", "2");
    }
    svg.append(drawn);
  }
  element.querySelector(".frame").insertBefore(svg, element.querySelector(".badge, .remove"));
}
