// The server's statistics and the readiness of its parts, asked for again and again while somebody looks.

import { byId, make, oncePerFrame, setText } from './dom.js';
import { bytes, duration, number, text } from './texts.js';

const EVERY = 3_000;

export class Stats {
  constructor() {
    this.token = null;
    this.role = '';
    this.body = byId('stats-body');
    this.note = byId('stats-note');
    this.drawSoon = oncePerFrame(() => this.draw());
    document.addEventListener('visibilitychange', () => this.ask());
    this.drawSoon();
  }

  /** Begins to ask with a token that the server has accepted. */
  start(token, role) {
    Object.assign(this, { token, role, refused: null });
    this.ask();
    this.drawSoon();
  }

  /** What was last known stays, and is said to be old. */
  stop() {
    this.token = null;
    clearTimeout(this.timer);
    this.drawSoon();
  }

  /** Another user may not see what this one saw. */
  forget() {
    Object.assign(this, { stats: null, parts: null, refused: null });
    this.drawSoon();
  }

  async ask() {
    clearTimeout(this.timer);
    if (this.token === null || document.hidden) return;
    const token = this.token;
    try {
      const ready = await (await fetch('/readyz')).json();
      const answer = this.refused ? null : await fetch('/api/v1/ws/stats', { headers: { Authorization: `Bearer ${token}` } });
      const told = answer && (await answer.json());
      // Somebody else may have connected meanwhile.
      if (token !== this.token) return;
      this.parts = ready.parts;
      this.answers = true;
      if (answer?.ok) this.stats = told.stats;
      else if (answer) Object.assign(this, { stats: null, refused: told.error });
    } catch {
      if (token !== this.token) return;
      this.answers = false;
    }
    this.drawSoon();
    this.timer = setTimeout(() => this.ask(), EVERY);
  }

  redraw() {
    this.body.replaceChildren();
    this.shape = null;
    this.drawSoon();
  }

  draw() {
    const old = this.token === null || this.answers === false;
    this.body.classList.toggle('old', old);
    setText(this.note, this.hint(old));
    if (!this.parts) {
      this.body.replaceChildren();
      this.shape = null;
      return;
    }
    const numbers = this.numbers();
    const pipelines = this.stats?.pipelines ?? [];
    const roles = Object.entries(this.stats?.connections_by_role ?? {});
    const shape = JSON.stringify([numbers.map(([label]) => label), pipelines.length, roles.map(([role]) => role), this.parts.map(({ name }) => name), this.refused]);
    if (shape !== this.shape) {
      this.shape = shape;
      this.build(numbers, pipelines, roles);
    }
    const put = (cells, values) => cells.forEach((cell, index) => setText(cell, values[index]));
    put(this.cells.numbers, numbers.map(([, shown]) => shown));
    put(this.cells.roles, roles.map(([, count]) => number(count)));
    put(this.cells.pipelines, pipelines.flatMap(pipelineCells));
    this.parts.forEach((part, index) => {
      const cell = this.cells.parts[index];
      cell.parentElement.classList.toggle('bad', !part.ready);
      setText(cell, part.ready ? '✓' : `✗ ${part.reason ?? ''}`);
    });
    setText(this.cells.ready, text(this.parts.every(({ ready }) => ready) ? 'ready' : 'notReady'));
  }

  hint(old) {
    if (this.token === null) return text(this.parts ? 'statsOld' : 'statsHint');
    if (!this.parts) return text(this.answers === false ? 'noAnswerYet' : 'statsComing');
    return old ? text('noAnswer') : '';
  }

  numbers() {
    const stats = this.stats;
    if (!stats) return [];
    return [
      [text('connections'), number(stats.total_connections)],
      [text('users'), number(stats.unique_users)],
      [text('mostUsers'), number(stats.most_users)],
      [text('broadcasts'), number(stats.metrics.total_broadcasts)],
      [text('sent'), number(stats.metrics.total_messages_sent)],
      [text('slow'), number(stats.metrics.total_send_errors)],
      [text('head'), number(stats.journal.head)],
      [text('journalSize'), bytes(stats.journal.bytes)],
      [text('uptime'), duration(stats.uptime_seconds)],
    ];
  }

  build(numbers, pipelines, roles) {
    const cells = { numbers: [], roles: [], pipelines: [], parts: [] };
    const cell = (into, name, attributes) => {
      const element = make(name, attributes);
      into.push(element);
      return element;
    };
    const tiles = numbers.map(([label]) => make('div', { class: 'tile small' }, make('dt', {}, label), cell(cells.numbers, 'dd')));
    const parts = [];
    if (this.refused) {
      parts.push(make('p', { id: 'stats-refused', class: 'warning' }, `${text('statsRefused', { role: this.role })} ${text('serverSays', { message: this.refused.message })}`));
    }
    if (tiles.length > 0) parts.push(make('dl', { class: 'tiles' }, ...tiles));
    const tables = [];
    if (pipelines.length > 0) {
      const heads = ['pipeline', 'status', 'lag', 'eventsSeen', 'messages', 'deadLetters'];
      const rows = pipelines.map(() => make('tr', {}, ...heads.map((_, index) => cell(cells.pipelines, 'td', index > 1 ? { class: 'number' } : {}))));
      tables.push(table(heads.map((head, index) => make('th', { scope: 'col', class: index > 1 ? 'number' : null }, text(head))), rows));
    }
    if (roles.length > 0) {
      const rows = roles.map(([role]) => make('tr', {}, make('th', { scope: 'row' }, role), cell(cells.roles, 'td', { class: 'number' })));
      tables.push(table([make('th', { scope: 'col' }, text('byRole')), make('th')], rows));
    }
    cells.ready = make('span');
    const rows = this.parts.map((part) => make('tr', { 'data-part': part.name }, make('th', { scope: 'row' }, part.name), cell(cells.parts, 'td')));
    tables.push(table([make('th', { scope: 'col', colspan: '2' }, cells.ready)], rows));
    parts.push(make('div', { class: 'groups' }, ...tables));
    this.cells = cells;
    this.body.replaceChildren(...parts);
  }
}

function table(heads, rows) {
  return make('div', { class: 'group' }, make('table', {}, make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...rows)));
}

function pipelineCells(health) {
  return [health.pipeline, health.status, number(health.lag), number(health.events), number(health.messages), number(health.dead_letters)];
}

