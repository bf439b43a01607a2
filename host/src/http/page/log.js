// The event log: the newest events first, bounded, with a filter and a pause.

import { byId, make, oncePerFrame, setText } from './dom.js';
import { at } from './state.js';
import { name, text, time, value } from './texts.js';

/** How many events are kept, and how many are on the page at once. */
const KEPT = 1000;
const SHOWN = 200;

export class Log {
  constructor(fields) {
    this.fields = fields;
    this.list = byId('event-list');
    this.empty = byId('event-empty');
    this.pauseButton = byId('pause');
    /** Newest last. */
    this.entries = [];
    /** How many of the newest are not on the page yet. */
    this.fresh = 0;
    this.paused = false;
    this.filter = '';
    this.stateToo = false;
    this.connected = false;
    this.drawSoon = oncePerFrame(() => this.draw());

    byId('filter').addEventListener('input', (event) => {
      this.filter = event.target.value.trim().toLowerCase();
      this.redraw();
    });
    byId('state-too').addEventListener('change', (event) => {
      this.stateToo = event.target.checked;
      this.redraw();
    });
    this.pauseButton.addEventListener('click', () => {
      this.paused = !this.paused;
      this.drawSoon();
    });
    byId('clear').addEventListener('click', () => this.clear());
    this.drawSoon();
  }

  message(message) {
    this.add({ message });
  }

  /** Something that the page itself has to say; `say` is asked again when the language changes. */
  notice(say) {
    this.add({ say, at: new Date().toISOString() });
  }

  clear() {
    this.entries = [];
    this.redraw();
  }

  setConnected(connected) {
    this.connected = connected;
    this.drawSoon();
  }

  add(entry) {
    this.entries.push(entry);
    this.fresh += 1;
    if (this.entries.length > KEPT * 1.2) this.entries.splice(0, this.entries.length - KEPT);
    this.drawSoon();
  }

  /** Everything anew: the filter or the language is another one. */
  redraw() {
    for (const entry of this.entries) entry.search = undefined;
    this.list.replaceChildren();
    this.fresh = this.entries.length;
    this.redrawing = true;
    this.drawSoon();
  }

  draw() {
    const fresh = this.fresh === 0 ? [] : this.entries.slice(-this.fresh).filter((entry) => this.fits(entry));
    // Filtering is allowed while paused: only what came since waits.
    const waits = this.paused && !this.redrawing;
    if (!waits) {
      this.list.prepend(...fresh.slice(-SHOWN).reverse().map((entry) => this.row(entry)));
      while (this.list.childElementCount > SHOWN) this.list.lastElementChild.remove();
      this.fresh = 0;
      this.redrawing = false;
    }
    this.pauseButton.setAttribute('aria-pressed', this.paused);
    setText(this.pauseButton, this.paused ? text('resume', { n: String(waits ? fresh.length : 0) }) : text('pause'));
    this.empty.hidden = this.list.childElementCount > 0;
    const kept = this.filter === '' ? 'onlyState' : 'noMatch';
    const none = this.entries.length > 0 ? kept : this.connected ? 'noEvents' : 'notConnectedYet';
    setText(this.empty, text(none));
  }

  fits(entry) {
    const { message, say } = entry;
    if (say) return this.filter === '';
    if (message.key !== undefined && !this.stateToo) return false;
    if (this.filter === '') return true;
    entry.search ??= [
      message.channel, name(message.channel), message.event_type, name(message.event_type), JSON.stringify(message.data),
    ].join('\n').toLowerCase();
    return entry.search.includes(this.filter);
  }

  row({ message, say, at: moment }) {
    if (say) {
      return make('li', { class: 'notice' }, make('time', { datetime: moment }, time(moment)), make('span', {}, say()));
    }
    const cells = [
      make('time', { datetime: message.timestamp, title: message.timestamp }, time(message.timestamp)),
      make('span', { class: 'type', title: message.event_type }, name(message.event_type)),
      make('span', { class: 'what' }, this.summary(message)),
      make('span', { class: 'channel', title: message.channel }, name(message.channel)),
      make('span', { class: 'offset' }, message.offset === undefined ? '' : String(message.offset)),
    ];
    const details = make('details', {}, make('summary', {}, ...cells));
    // Filled when somebody looks: most are never opened.
    details.addEventListener('toggle', () => {
      if (details.open && details.childElementCount === 1) {
        details.append(make('pre', { tabindex: '0' }, JSON.stringify(message, null, 2)));
      }
    });
    return make('li', { 'data-channel': message.channel, 'data-type': message.event_type, 'data-offset': message.offset, 'data-id': message.message_id }, details);
  }

  summary(message) {
    const marks = [message.deleted && text('deleted'), message.late && 'late', message.recovered && 'recovered'].filter(Boolean);
    const key = message.key ? [message.key] : [];
    const paths = this.fields.get(message.channel);
    const found = paths?.map((path) => at(message.data, path)).filter((found) => found !== undefined).map(value) ?? [];
    const data = found.length > 0 ? found : message.data === null ? [] : [JSON.stringify(message.data)];
    return [...marks, ...(paths ? [] : key), ...data].join(' · ');
  }
}
