// Feel, not function: every page works without this.
(() => {
  "use strict";
  const doc = document, root = doc.documentElement;
  const $ = (s, in_ = doc) => in_.querySelector(s), all = (s) => [...doc.querySelectorAll(s)];

  // The reader's zone, for pages to come.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !/(^|; )tz=/.test(doc.cookie)) doc.cookie = "tz=" + encodeURIComponent(zone) + "; path=/; max-age=31536000; samesite=lax";

  // How long ago, or how soon. The text beside it is absolute and stays.
  const rough = (s) => {
    if (s < 60) return Math.floor(s) + " s";
    if (s < 3600) return Math.floor(s / 60) + " m";
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    if (s < 172800) return h + " h" + (m && h < 10 ? " " + String(m).padStart(2, "0") + " m" : "");
    return Math.floor(s / 86400) + " d";
  };
  const times = () => {
    const now = Date.now();
    for (const e of all(".rel[data-at]")) {
      const d = (now - Date.parse(e.dataset.at)) / 1000, text = d >= 0 ? rough(d) + " ago" : "in " + rough(-d);
      if (e.textContent !== text) e.textContent = text;
    }
  };

  // A log is followed while its end is in sight.
  const boxes = new WeakMap();
  const atEnd = (b) => b.scrollHeight <= b.clientHeight ? innerHeight + scrollY >= doc.body.scrollHeight - 120 : b.scrollTop + b.clientHeight >= b.scrollHeight - 40;
  const toEnd = (b) => b.scrollHeight > b.clientHeight ? b.scrollTop = b.scrollHeight : scrollTo(0, doc.body.scrollHeight);
  const before = () => all("[data-follow]").forEach((b) => boxes.set(b, atEnd(b)));
  const after = () => {
    times();
    for (const b of all("[data-follow]")) {
      const log = $(".log", b), lines = log.children;
      const none = $(".none", log);
      if (none && lines.length > 1) none.remove();
      for (let n = lines.length - 4000; n > 0; n--) lines[0].remove();
      if (boxes.get(b)) toEnd(b);
    }
    const head = $("[data-title]");
    if (head && doc.title !== head.dataset.title) {
      doc.title = head.dataset.title;
      if ("over" in head.dataset) $("#announce").textContent = head.dataset.title.replace(" · Synthesizer", "");
    }
  };

  // Whether what is shown is still true.
  const mark = $("#live");
  let lost = 0;
  const say = (state, text) => {
    if (mark) { mark.hidden = false; mark.dataset.state = state; mark.textContent = text; }
  };
  const on = (name, f) => doc.addEventListener(name, f);
  on("htmx:sse:after:connection", () => { lost = 0; say("on", "live"); });
  const broken = () => { lost = lost || Date.now(); say("off", "reconnecting"); };
  on("htmx:sse:error", broken);
  on("htmx:sse:close", broken);
  on("htmx:response:error", broken);
  on("htmx:error", broken);
  on("htmx:sse:before:message", before);
  on("htmx:sse:after:message", after);
  on("htmx:after:swap", times);
  setInterval(() => {
    times();
    if (lost && Date.now() - lost > 30000) say("stale", "stale since " + new Date(lost).toLocaleTimeString("en-GB"));
  }, 1000);
  times();
  all("[data-follow]").forEach((b) => { if (b.classList.contains("tail")) b.scrollTop = b.scrollHeight; });

  // What is typed hidden can be looked at while it is typed.
  for (const e of all("[data-reveal]")) {
    e.closest("label").hidden = false;
    e.addEventListener("change", () => { $("#" + e.dataset.reveal).type = e.checked ? "text" : "password"; });
  }

  // Ctrl-Enter sends a form from any of its fields.
  on("keydown", (e) => {
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey) && e.target.form && e.target.form.reportValidity()) e.target.form.requestSubmit();
  });

  const wrong = $("[data-focus]");
  if (wrong) wrong.focus();

  // Keys. None of them changes anything.
  if (!("keys" in root.dataset)) return;
  const copy = (text) => navigator.clipboard && navigator.clipboard.writeText(text).then(() => { $("#announce").textContent = "copied: " + text; });
  const go = (e) => e && (e.click(), true);
  const step = (by) => {
    const rows = all("[data-row]"), i = rows.indexOf(doc.activeElement);
    const to = rows[i < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, i + by))];
    if (to) to.focus();
    return true;
  };
  let g = 0;
  const keys = {
    "?": () => { $("#keys").showModal(); return true; },
    "/": () => { const q = $("input[type=search]"); if (q) q.focus(); return q; },
    j: () => step(1),
    k: () => step(-1),
    l: () => go($("[data-log]")),
    r: () => go($("main .actions a[href*='/run']")),
    R: () => go($("main .actions a[href*='/rerun?mode=failed']")),
    "[": () => go($("[rel=prev]")),
    "]": () => go($("[rel=next]")),
    f: () => all("[data-follow]").forEach(toEnd),
    ".": () => copy(root.dataset.command),
    y: () => copy(location.href),
    g: () => { g = Date.now(); return true; },
  };
  on("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, textarea, select, dialog[open]")) return;
    if (Date.now() - g < 1200) {
      const to = { p: "/p", r: "/runs" }[e.key];
      g = 0;
      if (to) { location.href = to; e.preventDefault(); return; }
    }
    const f = keys[e.key];
    if (f && f()) e.preventDefault();
  });
})();
