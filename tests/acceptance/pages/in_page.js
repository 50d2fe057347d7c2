// What a page says of itself: how wide it is, what of its text is hard to read, and what may be reached by keyboard.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  };
  const over = (front, back) => [0, 1, 2].map((at) => front[at] * front[3] + back[at] * (1 - front[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(rgba(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const back = behind(element);
    const front = over(rgba(element instanceof SVGElement ? style.fill : style.color), back);
    const [low, high] = [luminance(front), luminance(back)].sort((one, other) => one - other);
    return (high + 0.05) / (low + 0.05);
  };
  const visible = (element) => element.checkVisibility() && element.getClientRects().length > 0;
  let faintest = { contrast: 21, text: "" };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (!text || !visible(element) || element.closest("title, desc")) continue;
    const found = contrast(element);
    if (found < faintest.contrast) faintest = { contrast: found, text: `${text.slice(0, 40)} (${element.className})` };
  }
  const links = [...document.querySelectorAll("a[href]")].filter(visible);
  const regions = [...document.querySelectorAll("[tabindex='0'], summary")].filter(visible);
  return { width: document.documentElement.scrollWidth, faintest, targets: links.length + regions.length };
}
