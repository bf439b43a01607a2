// What the page says, in English and Spanish, and how it names the domain's things: those words come
// from the settings.

const TEXTS = {
  en: {
    token: 'Token',
    tokenHint: 'Paste a token; relevo token prints one. It stays in this tab.',
    connect: 'Connect',
    disconnect: 'Disconnect',
    reconnect: 'Reconnect now',
    language: 'Language',
    connection: 'Connection',
    channels: 'Channels',
    addChannel: 'Another channel',
    add: 'Add',
    remove: 'Remove',
    idle: 'Not connected',
    connecting: 'Connecting…',
    connected: 'Connected',
    waiting: 'Reconnecting',
    inSeconds: 'in {n} s',
    closed: 'Closed',
    who: '{user} · {role}',
    place: 'position {offset}',
    events: 'Events',
    filter: 'Filter',
    filterHint: 'channel, type or text',
    stateToo: 'state channels too',
    pause: 'Pause',
    resume: 'Go on ({n} new)',
    clear: 'Clear',
    noEvents: 'No events yet. They appear here as soon as something changes.',
    noMatch: 'None of the kept events match the filter.',
    onlyState: 'Only state channels have brought something yet. It is in their tables; tick “state channels too” to see it here.',
    notConnectedYet: 'Paste a token above and connect: what the channels bring appears here.',
    noBoards: 'No state channel yet. Choose one above: its keys appear here and follow every change.',
    noRows: 'No entries.',
    rows: '{n} entries',
    more: 'the first {n} are shown',
    key: 'key',
    stats: 'Statistics',
    statsHint: 'Connect to see them.',
    statsComing: 'They are on their way.',
    noAnswerYet: 'The server does not answer.',
    statsRefused: 'The role {role} may not see the statistics.',
    ready: 'The server is ready',
    notReady: 'Some parts are not ready',
    statsOld: 'Not connected: the numbers are the last ones.',
    noAnswer: 'The server does not answer; the numbers are the last ones.',
    connections: 'Connections',
    users: 'Users',
    mostUsers: 'Most users at once',
    sent: 'Messages delivered',
    broadcasts: 'Messages sent',
    slow: 'Closed for slowness',
    uptime: 'Up for',
    journalSize: 'Journal',
    head: 'Newest number',
    byRole: 'Connections by role',
    pipeline: 'Pipeline',
    status: 'Status',
    lag: 'Behind',
    eventsSeen: 'Events',
    messages: 'Messages',
    deadLetters: 'Dead letters',
    part: 'Part',
    refused: 'refused: {why}',
    gap: 'Something was missed in {where}: {why}. What is shown was taken anew.',
    allChannels: 'all channels',
    deleted: 'gone',
    serverSays: 'The server says: {message}',
    code: 'code {code}',
    lost: 'the connection was lost',
    silent: 'the server was silent',
    reasons: {
      1000: 'you disconnected',
      1002: 'the server could not read what came; this page may be out of date: reload it',
      1003: 'the server could not read what came; this page may be out of date: reload it',
      1007: 'the server could not read what came; this page may be out of date: reload it',
      1009: 'a message was too large for the server: choose fewer channels',
      4000: 'the server stops or restarts',
      4001: 'this page was too slow; nothing is lost',
      4002: 'this page did not answer the server in time',
      4003: 'the server has as many connections as it may have',
      4004: 'the token came too late',
      4005: 'the token has expired: paste a new one; nothing is lost until then',
      4006: 'the server failed',
      4500: 'the token was refused: paste another one',
      4501: 'the server could not read the request; a channel’s name may be wrong',
    },
  },
  es: {
    token: 'Token',
    tokenHint: 'Pegue un token; relevo token imprime uno. Queda en esta pestaña.',
    connect: 'Conectar',
    disconnect: 'Desconectar',
    reconnect: 'Reconectar ahora',
    language: 'Idioma',
    connection: 'Conexión',
    channels: 'Canales',
    addChannel: 'Otro canal',
    add: 'Agregar',
    remove: 'Quitar',
    idle: 'Sin conexión',
    connecting: 'Conectando…',
    connected: 'Conectado',
    waiting: 'Reconectando',
    inSeconds: 'en {n} s',
    closed: 'Cerrado',
    who: '{user} · {role}',
    place: 'posición {offset}',
    events: 'Eventos',
    filter: 'Filtro',
    filterHint: 'canal, tipo o texto',
    stateToo: 'también canales de estado',
    pause: 'Pausar',
    resume: 'Seguir ({n} nuevos)',
    clear: 'Vaciar',
    noEvents: 'Aún no hay eventos. Aparecen aquí en cuanto algo cambia.',
    noMatch: 'Ninguno de los eventos guardados coincide con el filtro.',
    onlyState: 'Hasta ahora solo los canales de estado trajeron algo. Está en sus tablas; marque «también canales de estado» para verlo aquí.',
    notConnectedYet: 'Pegue un token arriba y conéctese: aquí aparece lo que traen los canales.',
    noBoards: 'Aún no hay canal de estado. Elija uno arriba: sus claves aparecen aquí y siguen cada cambio.',
    noRows: 'Sin entradas.',
    rows: '{n} entradas',
    more: 'se muestran las primeras {n}',
    key: 'clave',
    stats: 'Estadísticas',
    statsHint: 'Conéctese para verlas.',
    statsComing: 'Están en camino.',
    noAnswerYet: 'El servidor no responde.',
    statsRefused: 'El rol {role} no puede ver las estadísticas.',
    ready: 'El servidor está listo',
    notReady: 'Hay partes que no están listas',
    statsOld: 'Sin conexión: los números son los últimos.',
    noAnswer: 'El servidor no responde; los números son los últimos.',
    connections: 'Conexiones',
    users: 'Usuarios',
    mostUsers: 'Máximo de usuarios',
    sent: 'Mensajes entregados',
    broadcasts: 'Mensajes enviados',
    slow: 'Cerradas por lentas',
    uptime: 'Activo desde hace',
    journalSize: 'Diario',
    head: 'Último número',
    byRole: 'Conexiones por rol',
    pipeline: 'Pipeline',
    status: 'Estado',
    lag: 'Atraso',
    eventsSeen: 'Eventos',
    messages: 'Mensajes',
    deadLetters: 'Fallidos',
    part: 'Parte',
    refused: 'rechazado: {why}',
    gap: 'Se perdió algo en {where}: {why}. Lo que se muestra se tomó de nuevo.',
    allChannels: 'todos los canales',
    deleted: 'ya no está',
    serverSays: 'El servidor dice: {message}',
    code: 'código {code}',
    lost: 'se perdió la conexión',
    silent: 'el servidor no dijo nada',
    reasons: {
      1000: 'usted se desconectó',
      1002: 'el servidor no pudo leer lo enviado; esta página puede ser antigua: recárguela',
      1003: 'el servidor no pudo leer lo enviado; esta página puede ser antigua: recárguela',
      1007: 'el servidor no pudo leer lo enviado; esta página puede ser antigua: recárguela',
      1009: 'un mensaje fue demasiado grande para el servidor: elija menos canales',
      4000: 'el servidor se detiene o se reinicia',
      4001: 'esta página fue demasiado lenta; no se pierde nada',
      4002: 'esta página no respondió a tiempo',
      4003: 'el servidor tiene todas las conexiones que puede tener',
      4004: 'el token llegó demasiado tarde',
      4005: 'el token venció: pegue uno nuevo; hasta entonces no se pierde nada',
      4006: 'el servidor falló',
      4500: 'el token fue rechazado: pegue otro',
      4501: 'el servidor no pudo leer el pedido; quizá el nombre de un canal esté mal',
    },
  },
};

let language = 'en';
let words = {};

/** Languages as the page offers them. */
export const LANGUAGES = Object.keys(TEXTS);

/** What was chosen before, else the browser's language, else English. */
export function preferred() {
  const chosen = localStorage.getItem('relevo.language');
  if (LANGUAGES.includes(chosen)) return chosen;
  const known = navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => LANGUAGES.includes(tag));
  return known ?? 'en';
}

export function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen;
}

export const spoken = () => language;

/** The domain's words, from the settings. */
export function useWords(given) {
  words = given;
}

/** One of the page's own texts, with values put in. */
export function text(name, values = {}) {
  return TEXTS[language][name].replace(/\{(\w+)\}/g, (_, value) => values[value] ?? '');
}

/** What a close code means, where it is known. */
export const reason = (code) => TEXTS[language].reasons[code];

function known(name) {
  const entry = Object.hasOwn(words, name) ? words[name] : undefined;
  return entry && (entry[language] ?? entry.en ?? Object.values(entry)[0]);
}

/** The word for a field at a path: of its longest known ending, else its last name as it stands. */
export function word(path) {
  for (let rest = path; ; rest = rest.slice(rest.indexOf('.') + 1)) {
    const found = known(rest);
    if (found) return found;
    if (!rest.includes('.')) return rest.replaceAll('_', ' ');
  }
}

/** The word for a channel or an event type, else the name as it stands. */
export const name = (given) => known(given) ?? given;

const MOMENT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

/** A value of a message's data for people: one line of text. */
export function value(given) {
  if (given === undefined || given === null) return '–';
  if (typeof given === 'number') return number(given);
  if (typeof given === 'string') return MOMENT.test(given) ? time(given) : (known(given) ?? given);
  if (Array.isArray(given) && given.every((member) => typeof member !== 'object')) return given.map(value).join(', ');
  return JSON.stringify(given);
}

const formats = new Map();

/** Formats are dear to make and kept. */
function format(kind, make) {
  const key = `${language} ${kind}`;
  if (!formats.has(key)) formats.set(key, make());
  return formats.get(key);
}

export function number(given) {
  return format('number', () => new Intl.NumberFormat(language, { maximumFractionDigits: 6 })).format(given);
}

export function time(moment) {
  const made = () => new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
  return format('time', made).format(new Date(moment));
}

export function bytes(given) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; given >= 1024 && unit < units.length - 1; unit++) given /= 1024;
  const digits = unit === 0 ? 0 : 1;
  const made = () => new Intl.NumberFormat(language, { maximumFractionDigits: digits });
  return `${format(`bytes ${digits}`, made).format(given)} ${units[unit]}`;
}

export function duration(seconds) {
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const from = Math.max(0, parts.findIndex(([, size]) => seconds >= size));
  const shown = seconds < 1 ? [['s', 1]] : parts.slice(from, from + 2);
  let rest = seconds;
  return shown.map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return `${count} ${unit}`;
  }).join(' ');
}
