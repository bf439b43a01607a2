// Joins the parts: the client hears, the log, the boards and the statistics show.

import { Boards } from './boards.js';
import { Client } from './client.js';
import { byId, make, oncePerFrame, setText } from './dom.js';
import { Log } from './log.js';
import { Stats } from './stats.js';
import { name, number, preferred, reason, speak, spoken, text, useWords } from './texts.js';

const TOKEN = 'relevo.token';
const CHANNELS = 'relevo.channels';

/** A token in the fragment (`/#token=…`) is taken out of the address and its history at once. */
function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (location.hash) history.replaceState(null, '', location.pathname + location.search);
  return token;
}

const given = tokenFromAddress();
const settings = await fetch('/page/settings.json').then((answer) => answer.json());
useWords(settings.words);
const fields = new Map(Object.entries(settings.fields));

const log = new Log(fields);
const boards = new Boards(fields);
const stats = new Stats();
/** Channel to the server's reason for refusing it. */
const refusals = new Map();
let identity = null;

const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
const client = new Client(`${scheme}://${location.host}/api/v1/ws/connect`, {
  state: (state) => {
    const connected = state.name === 'connected';
    log.setConnected(connected);
    boards.setConnected(connected);
    if (!connected) stats.stop();
    showState();
  },
  connected: ({ user, role }) => {
    const now = JSON.stringify([user, role]);
    // Somebody else: what the one before saw is not for them.
    if (identity !== null && identity !== now) {
      log.clear();
      boards.clear();
      stats.forget();
      for (const channel of client.channels) boards.begin(channel);
    }
    identity = now;
    refusals.clear();
    showChannels();
    stats.start(client.token, role);
  },
  message: (message) => {
    if (message.key !== undefined) boards.apply(message);
    log.message(message);
    showPlaceSoon();
  },
  begin: (channel) => boards.begin(channel),
  subscribed: (channel) => {
    boards.finish(channel);
    refusals.delete(channel);
    showChannels();
  },
  gap: (gap) => {
    const why = gap.detail ? `${gap.reason} (${gap.detail})` : gap.reason;
    log.notice(() => text('gap', { where: gap.channel ? name(gap.channel) : text('allChannels'), why }));
    for (const channel of boards.complete()) {
      if (gap.channel === undefined || gap.channel === channel) client.takeAnew(channel);
    }
  },
  refused: (channel, error) => {
    refusals.set(channel, error.message);
    boards.remove(channel);
    log.notice(() => `${channel}: ${text('refused', { why: error.message })}`);
    showChannels();
  },
});

// --- the connection

function showState() {
  const { state } = client;
  byId('state').dataset.state = state.name;
  setText(byId('state-text'), text(state.name));
  setText(byId('who'), state.name === 'connected' ? text('who', state) : '');
  const active = ['connecting', 'connected', 'waiting'].includes(state.name);
  byId('connect').hidden = active;
  byId('token').disabled = active;
  byId('disconnect').hidden = !active;
  byId('reconnect').hidden = state.name !== 'waiting';
  const why = byId('why');
  why.hidden = state.name !== 'closed' && state.name !== 'waiting';
  why.dataset.code = state.code ?? '';
  setText(why, why.hidden ? '' : explain(state));
  showCountdown();
  showPlaceSoon();
}

/** Why there is no connection, in the page's words and the server's. */
function explain({ code, reason: word, message }) {
  const parts = [];
  if (code === undefined) parts.push(text('silent'));
  else if (reason(code)) parts.push(`${reason(code)} (${code}${word ? ` ${word}` : ''})`);
  else if (code === 1006 || code === 1005) parts.push(text('lost'));
  else parts.push(`${word || text('closed')} (${text('code', { code })})`);
  if (message) parts.push(text('serverSays', { message }));
  const said = parts.join('. ');
  return said[0].toUpperCase() + said.slice(1);
}

/** Not for screen readers: they are told the state, and not each second of it. */
function showCountdown() {
  const { state } = client;
  const left = state.name === 'waiting' ? Math.max(0, Math.ceil((state.until - Date.now()) / 1000)) : null;
  setText(byId('countdown'), left === null ? '' : text('inSeconds', { n: String(left) }));
}

const showPlaceSoon = oncePerFrame(() => {
  setText(byId('place'), client.place ? text('place', { offset: number(client.place.offset) }) : '');
  byId('place').title = client.place?.epoch ?? '';
});

function connect(token) {
  sessionStorage.setItem(TOKEN, token);
  client.connect(token);
}

byId('connect-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = byId('token').value.trim();
  if (token) connect(token);
  else byId('token').focus();
});
byId('disconnect').addEventListener('click', () => client.disconnect());
byId('reconnect').addEventListener('click', () => client.reconnectNow());
// The network is there again: there is nothing to wait for.
addEventListener('online', () => client.state.name === 'waiting' && client.reconnectNow());
setInterval(showCountdown, 250);

// --- the channels

function remembered() {
  try {
    const channels = JSON.parse(localStorage.getItem(CHANNELS));
    return Array.isArray(channels) ? channels.filter((channel) => typeof channel === 'string') : null;
  } catch {
    return null;
  }
}

function choose(channel, chosen) {
  if (chosen) client.subscribe(channel);
  else {
    client.unsubscribe(channel);
    boards.remove(channel);
    refusals.delete(channel);
  }
  localStorage.setItem(CHANNELS, JSON.stringify([...client.channels]));
  showChannels();
}

function showChannels() {
  const offered = [...new Set([...settings.channels, ...client.channels])];
  const focused = document.activeElement?.dataset?.channel;
  byId('channel-list').replaceChildren(...offered.map((channel) => {
    const box = make('input', { type: 'checkbox', 'data-channel': channel });
    box.checked = client.channels.has(channel);
    box.addEventListener('change', () => choose(channel, box.checked));
    const why = refusals.get(channel);
    const label = make('label', { class: why ? 'chip bad' : 'chip', title: why ?? channel }, box, ` ${name(channel)}`);
    if (why) label.append(make('span', { class: 'hidden' }, ` ${text('refused', { why })}`));
    return make('li', {}, label);
  }));
  if (focused) document.querySelector(`#channel-list [data-channel="${CSS.escape(focused)}"]`)?.focus();
  byId('known-channels').replaceChildren(...settings.channels.map((channel) => make('option', { value: channel })));
}

byId('channel-form').addEventListener('submit', (event) => {
  event.preventDefault();
  choose(byId('channel').value.trim(), true);
  byId('channel').value = '';
});

// --- the language

function translate() {
  for (const element of document.querySelectorAll('[data-text]')) setText(element, text(element.dataset.text));
  for (const element of document.querySelectorAll('[data-placeholder]')) element.placeholder = text(element.dataset.placeholder);
  for (const element of document.querySelectorAll('[data-label]')) element.setAttribute('aria-label', text(element.dataset.label));
  byId('language').value = spoken();
  log.redraw();
  boards.redraw();
  stats.redraw();
  showChannels();
  showState();
}

byId('language').addEventListener('change', (event) => {
  localStorage.setItem('relevo.language', event.target.value);
  speak(event.target.value);
  translate();
});

// --- the beginning

for (const channel of remembered() ?? settings.channels) client.subscribe(channel);
speak(preferred());
translate();
const token = given ?? sessionStorage.getItem(TOKEN);
if (token) {
  byId('token').value = token;
  connect(token);
}
