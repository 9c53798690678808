// Keeps pages current: the log gets a line for each event, other pages fetch themselves again when one concerns them.
"use strict";
const log = document.getElementById("events");
const parts = () => document.querySelectorAll("[data-live]");
if (log || parts().length) {
  let waiting = null;
  const source = new EventSource("/console/events/stream" + (log ? "?after=" + log.dataset.after : ""));
  const say = (text) => { const live = document.getElementById("live"); if (live) live.textContent = text; };
  const refresh = async () => {
    waiting = null;
    const response = await fetch(location.href, { credentials: "same-origin" });
    if (!response.ok || response.redirected) return;
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html").querySelectorAll("[data-live]");
    parts().forEach((part, index) => {
      // Where somebody is at work nothing moves.
      if (!fresh[index] || part.contains(document.activeElement)) return;
      const open = [...part.querySelectorAll("details")].map((one) => one.open);
      part.replaceWith(fresh[index]);
      fresh[index].querySelectorAll("details").forEach((one, at) => { one.open = open[at] || false; });
    });
  };
  const concerns = (line) => [...parts()].some((part) => part.dataset.live.split(" ").some((word) => {
    const [name, value] = word.split("=");
    return value === undefined ? line.kind === name : value !== "" && line[name] === value;
  }));
  const add = (line) => {
    const item = document.createElement("li"), time = document.createElement("time");
    const kind = document.createElement("span"), text = document.createElement("span");
    item.className = line.class;
    time.dateTime = time.textContent = line.time;
    kind.className = "tag";
    kind.textContent = line.kind;
    text.textContent = line.text;
    item.append(time, " ", kind, " ", text);
    log.prepend(item);
    while (log.children.length > 500) log.lastElementChild.remove();
  };
  source.onopen = () => say("Live");
  source.onerror = () => say("Not connected; trying again");
  source.addEventListener("lost", () => say("Some events came too fast to be shown"));
  source.onmessage = (event) => {
    const line = JSON.parse(event.data);
    if (log) add(line);
    else if (concerns(line) && waiting === null) waiting = setTimeout(refresh, 400);
  };
}
