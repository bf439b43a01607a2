// State channels on the page: a panel of numbers where a channel holds numbers, else a table of its keys.

import { byId, flash, make, oncePerFrame, setText } from './dom.js';
import { State, at, isGroup, isPanel, pathsOf } from './state.js';
import { name, number, text, value, word } from './texts.js';

/** How many rows and columns a table has at most. */
const ROWS = 500;
const COLUMNS = 8;

export class Boards {
  constructor(fields) {
    this.fields = fields;
    this.states = new Map();
    this.views = new Map();
    this.dirty = new Set();
    this.connected = false;
    this.drawSoon = oncePerFrame(() => this.draw());
    this.drawSoon();
  }

  /** All keys of a channel come from here on. Whether it is a state channel at all shows later. */
  begin(channel) {
    if (!this.states.has(channel)) this.states.set(channel, new State(channel));
    this.states.get(channel).begin();
  }

  apply(message) {
    this.states.get(message.channel)?.apply(message);
    this.touch(message.channel);
  }

  finish(channel) {
    this.states.get(channel)?.finish();
    this.touch(channel);
  }

  remove(channel) {
    this.states.delete(channel);
    this.touch(channel);
  }

  clear() {
    for (const channel of [...this.states.keys()]) this.remove(channel);
  }

  setConnected(connected) {
    this.connected = connected;
    this.drawSoon();
  }

  /** The state channels whose keys have all come. Those that are being taken anew are sound already. */
  complete() {
    const isState = (channel) => this.views.has(channel) || this.states.get(channel).rows.size > 0;
    return [...this.states.keys()].filter((channel) => isState(channel) && this.states.get(channel).loading === null);
  }

  touch(channel) {
    this.dirty.add(channel);
    this.drawSoon();
  }

  /** Everything anew: the language is another one. */
  redraw() {
    for (const view of this.views.values()) view.section.remove();
    this.views.clear();
    for (const channel of this.states.keys()) this.touch(channel);
    this.drawSoon();
  }

  draw() {
    for (const channel of this.dirty) this.drawChannel(channel);
    this.dirty.clear();
    const empty = byId('board-empty');
    empty.hidden = this.views.size > 0;
    setText(empty, text(this.connected ? 'noBoards' : 'notConnectedYet'));
  }

  drawChannel(channel) {
    const state = this.states.get(channel);
    let view = this.views.get(channel);
    const rows = state?.rows ?? new Map();
    if (!state || (rows.size === 0 && !view)) {
      view?.section.remove();
      this.views.delete(channel);
      return;
    }
    const Kind = rows.size === 0 ? view.constructor : !this.fields.has(channel) && isPanel(rows) ? Panel : Table;
    if (!(view instanceof Kind)) {
      view?.section.remove();
      view = new Kind(channel, this.fields.get(channel));
      this.views.set(channel, view);
      this.place(view);
    }
    view.draw(rows);
  }

  /** Panels above tables, and both in the order in which their channels were chosen. */
  place(view) {
    const into = byId(view instanceof Panel ? 'panels' : 'tables');
    const order = [...this.states.keys()];
    const after = [...into.children].find((other) => order.indexOf(other.dataset.channel) > order.indexOf(view.section.dataset.channel));
    into.insertBefore(view.section, after ?? null);
  }
}

function frame(channel, kind) {
  const title = make('h2', { title: channel }, name(channel));
  const note = make('span', { class: 'note' });
  const section = make('section', { class: `card ${kind}`, 'data-channel': channel, 'aria-label': name(channel) }, make('div', { class: 'head' }, title, note));
  return { section, note };
}

/** Sets a number's text, and shows that it is another one. */
function setNumber(element, shown, box = element) {
  const first = element.textContent === '';
  if (setText(element, shown) && !first) flash(box);
}

class Panel {
  constructor(channel) {
    Object.assign(this, frame(channel, 'panel'));
    this.tiles = make('dl', { class: 'tiles' });
    this.groups = make('div', { class: 'groups' });
    this.section.append(this.tiles, this.groups);
    this.numbers = new Map();
    this.tables = new Map();
  }

  draw(rows) {
    const several = rows.size > 1;
    const notes = [];
    for (const [key, { data }] of rows) {
      for (const [field, found] of Object.entries(data)) {
        const id = several ? `${key}.${field}` : field;
        if (typeof found === 'number') this.drawNumber(id, several ? `${key}: ${word(field)}` : word(field), found);
        else if (isGroup(found)) this.drawGroup(id, field, found);
        else if (typeof found === 'string') notes.push(`${word(field)} ${value(found)}`);
      }
    }
    setText(this.note, notes.join(' · '));
  }

  drawNumber(id, label, found) {
    let tile = this.numbers.get(id);
    if (!tile) {
      const dd = make('dd');
      tile = { dd, box: make('div', { class: 'tile', 'data-field': id }, make('dt', {}, label), dd) };
      this.numbers.set(id, tile);
      this.tiles.append(tile.box);
    }
    tile.box.dataset.value = found;
    setNumber(tile.dd, number(found), tile.box);
  }

  /** A group is a small table: an object of objects of numbers. */
  drawGroup(id, field, group) {
    const members = Object.entries(group);
    const columns = [...new Set(members.flatMap(([, numbers]) => Object.keys(numbers)))];
    const shape = JSON.stringify([members.map(([member]) => member), columns]);
    let table = this.tables.get(id);
    if (table?.shape !== shape) {
      const made = { shape, cells: new Map() };
      const head = make('tr', {}, make('th', { scope: 'col' }, word(field)), ...columns.map((column) => make('th', { scope: 'col', class: 'number' }, word(`${field}.${column}`))));
      const body = members.map(([member]) => {
        const cells = columns.map((column) => {
          const cell = make('td', { class: 'number', 'data-column': column });
          made.cells.set(`${member}.${column}`, cell);
          return cell;
        });
        const label = word(`${field}.${member.replaceAll('.', ' ')}`);
        return make('tr', { 'data-member': member }, make('th', { scope: 'row' }, label), ...cells);
      });
      made.element = make('div', { class: 'group', 'data-field': id }, make('table', {}, make('thead', {}, head), make('tbody', {}, ...body)));
      if (table) table.element.replaceWith(made.element);
      else this.groups.append(made.element);
      this.tables.set(id, made);
      table = made;
    }
    for (const [member, numbers] of members) {
      for (const column of columns) setNumber(table.cells.get(`${member}.${column}`), value(numbers[column]));
    }
  }
}

const byKey = new Intl.Collator(undefined, { numeric: true });

class Table {
  constructor(channel, fields) {
    Object.assign(this, frame(channel, 'board'));
    this.given = fields;
    this.columns = [];
    this.headRow = make('tr');
    this.body = make('tbody');
    const table = make('table', {}, make('thead', {}, this.headRow), this.body);
    this.empty = make('p', { class: 'empty', hidden: true }, text('noRows'));
    this.section.append(make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': name(channel) }, table), this.empty);
    this.rows = new Map();
  }

  draw(rows) {
    this.drawHead(rows);
    // Numbers by size, the rest by the alphabet.
    const keys = [...rows.keys()].sort(byKey.compare).slice(0, ROWS);
    const shown = new Set(keys);
    for (const [key, row] of this.rows) {
      if (shown.has(key)) continue;
      row.element.remove();
      this.rows.delete(key);
    }
    let place = this.body.firstElementChild;
    for (const key of keys) {
      const row = this.rows.get(key) ?? this.addRow(key);
      this.drawRow(row, rows.get(key));
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
    }
    const count = text('rows', { n: number(rows.size) });
    setText(this.note, rows.size > ROWS ? `${count}; ${text('more', { n: number(ROWS) })}` : count);
    this.empty.hidden = rows.size > 0;
  }

  /** The columns are those of the settings, else those of the first rows that came. */
  drawHead(rows) {
    const columns = this.given ?? (this.columns.length > 0 ? this.columns : pathsOf([...rows.values()].slice(0, 20), COLUMNS));
    if (this.columns === columns || columns.length === 0) return;
    this.columns = columns;
    this.headRow.replaceChildren(make('th', { scope: 'col' }, text('key')), ...columns.map((path) => make('th', { scope: 'col', title: path }, word(path))));
  }

  addRow(key) {
    const cells = this.columns.map(() => make('td'));
    const row = { cells, element: make('tr', { 'data-key': key }, make('th', { scope: 'row' }, key), ...cells) };
    this.rows.set(key, row);
    return row;
  }

  drawRow(row, message) {
    // Most rows are as they were.
    if (row.message === message) return;
    const first = row.message === undefined;
    row.message = message;
    row.cells.forEach((cell, index) => {
      const found = at(message.data, this.columns[index]);
      cell.classList.toggle('number', typeof found === 'number');
      if (setText(cell, value(found)) && !first) flash(cell);
    });
  }
}
