// State channels as live dictionaries: the newest message of each key.

export class State {
  constructor(channel) {
    this.channel = channel;
    /** Key to message. */
    this.rows = new Map();
    /** The keys that came since they began to come anew; null: they are complete. */
    this.loading = new Map();
  }

  /** All keys come from here on; what was there is shown until they have. */
  begin() {
    this.loading = new Map();
  }

  /** Takes a message; a tombstone takes its key away. */
  apply(message) {
    const into = this.loading ?? this.rows;
    if (message.deleted) into.delete(message.key);
    else into.set(message.key, message);
  }

  /** All keys have come: those that did not are gone. */
  finish() {
    if (this.loading === null) return;
    this.rows = this.loading;
    this.loading = null;
  }
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** A group of numbers: an object of objects of numbers. */
export function isGroup(value) {
  return isObject(value) && Object.values(value).every((member) => isObject(member) && Object.values(member).every((inner) => typeof inner === 'number'));
}

/** Whether what a state channel holds is a few objects of numbers: a panel, and no table. */
export function isPanel(rows) {
  if (rows.size === 0 || rows.size > 3) return false;
  return [...rows.values()].every(({ data }) => {
    if (!isObject(data)) return false;
    const values = Object.values(data);
    const numbers = values.filter((value) => typeof value === 'number').length;
    return numbers >= 2 && values.every((value) => !isObject(value) || isGroup(value)) && !values.some(Array.isArray);
  });
}

/** What stands at a path like `task.people.name`; of a list, the values of all its members. */
export function at(data, path) {
  let here = [data];
  for (const name of path.split('.')) {
    here = here.flatMap((value) => {
      const members = Array.isArray(value) ? value : [value];
      return members.map((member) => (member !== null && typeof member === 'object' && Object.hasOwn(member, name) ? member[name] : undefined));
    });
  }
  here = here.filter((value) => value !== undefined && value !== null);
  return here.length > 1 ? here : here[0];
}

/** The paths of all plain values in some rows, at most so many. */
export function pathsOf(rows, most) {
  const paths = new Set();
  const walk = (value, path) => {
    if (paths.size >= most) return;
    if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
      for (const [name, inner] of Object.entries(value)) walk(inner, path ? `${path}.${name}` : name);
    } else if (path) paths.add(path);
  };
  for (const { data } of rows) walk(data, '');
  return [...paths];
}
