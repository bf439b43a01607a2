// The life of a connection with the protocol relevo.v1 (docs/protocol.md): connects, follows its one
// number, comes back with it. It knows nothing of the page: what it hears goes to `heard`.

const FIRST_WAIT = 1_000;
const LONGEST_WAIT = 30_000;
/** How long a server may take to answer, and to be silent beyond its heartbeat. */
const ANSWER_WITHIN = 10_000;
/** A connection that lasted this long was a good one. */
const GOOD_AFTER = 5_000;

/** Close codes after which nobody comes back by themselves. A token that has expired needs a new one. */
const staysAway = (code) => (code >= 4500 && code <= 4999) || [1000, 1002, 1003, 1007, 1009, 4005].includes(code);
/** After these nothing has to be waited for. */
const atOnce = (code) => code === 4001 || code === 4002;

export class Client {
  /**
   * `heard` has the functions `state(state)`, `connected(frame)`, `message(message)`, `begin(channel)`,
   * `subscribed(channel)`, `gap(frame)` and `refused(channel, error)`.
   */
  constructor(url, heard) {
    this.url = url;
    this.heard = heard;
    this.channels = new Set();
    this.token = null;
    /** The client's one number, and its epoch. */
    this.place = null;
    /** The newest offset of each channel: what comes again is dropped. */
    this.seen = new Map();
    this.socket = null;
    this.tries = 0;
    this.commands = new Map();
    this.nextId = 1;
    this.state = { name: 'idle' };
  }

  /** Connects with a token, or again with another; the place is kept. */
  connect(token) {
    this.token = token;
    this.tries = 0;
    this.open();
  }

  /** Ends the connection until somebody connects again. */
  disconnect() {
    this.drop(1000);
    this.setState({ name: 'idle' });
  }

  /** Doesn't wait any longer. */
  reconnectNow() {
    if (this.token !== null) this.open();
  }

  subscribe(channel) {
    if (this.channels.has(channel)) return;
    this.channels.add(channel);
    this.command('subscribe', channel);
  }

  unsubscribe(channel) {
    if (!this.channels.delete(channel)) return;
    this.command('unsubscribe', channel);
  }

  /** Has a state channel's keys come again: after a gap the old ones are in doubt. */
  takeAnew(channel) {
    if (!this.channels.has(channel)) return;
    this.command('unsubscribe', channel);
    this.command('subscribe', channel);
  }

  command(type, channel) {
    if (this.state.name !== 'connected') return;
    const id = this.nextId++;
    this.commands.set(id, { type, channel });
    // From here on its keys come in place of those that are there.
    if (type === 'subscribe') this.heard.begin(channel);
    this.socket.send(JSON.stringify({ id, type, channel }));
  }

  setState(state) {
    this.state = state;
    this.heard.state(state);
  }

  open() {
    this.drop(1000);
    this.error = null;
    this.setState({ name: 'connecting' });
    const socket = new WebSocket(this.url, 'relevo.v1');
    this.socket = socket;
    // A former socket's late events are nobody's.
    const current = (act) => (event) => socket === this.socket && act(event);
    socket.onopen = current(() => {
      this.asked = [...this.channels];
      for (const channel of this.asked) this.heard.begin(channel);
      const hello = { type: 'connect', token: this.token, channels: this.asked };
      if (this.place) hello.after = this.place;
      socket.send(JSON.stringify(hello));
    });
    socket.onmessage = current((event) => {
      this.heardSomething();
      this.take(JSON.parse(event.data));
    });
    socket.onclose = current((event) => this.closed(event.code, event.reason));
    this.silence = ANSWER_WITHIN;
    this.heardSomething();
  }

  /** Leaves the socket, if there is one, and all timers. */
  drop(code) {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    this.commands.clear();
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(code);
  }

  /** Begins to wait for the next sign of life. A browser doesn't show pings: after a heartbeat it asks. */
  heardSomething() {
    clearTimeout(this.timer);
    const dead = () => this.closed(undefined, '');
    if (this.state.name !== 'connected') {
      this.timer = setTimeout(dead, this.silence);
      return;
    }
    this.timer = setTimeout(() => {
      this.socket.send(JSON.stringify({ type: 'ping' }));
      this.timer = setTimeout(dead, ANSWER_WITHIN);
    }, this.silence);
  }

  take(frame) {
    // Only messages of channels have one, whatever their type.
    if (frame.message_id !== undefined) {
      this.message(frame);
      return;
    }
    const command = this.commands.get(frame.id);
    this.commands.delete(frame.id);
    switch (frame.type) {
      case 'connected':
        // With `after` the number stays where it is until a `gap` moves it.
        this.place ??= { epoch: frame.epoch, offset: frame.offset };
        this.silence = frame.heartbeat_ms;
        this.since = Date.now();
        this.setState({ name: 'connected', user: frame.user, role: frame.role, session: frame.session });
        this.heard.connected(frame);
        this.heardSomething();
        this.catchUpWithChoices();
        break;
      case 'subscribed':
        this.seen.set(frame.channel, Math.max(this.seen.get(frame.channel) ?? 0, frame.offset));
        this.heard.subscribed(frame.channel);
        break;
      case 'unsubscribed':
        // Taken anew: what was on its way before this answer belongs to the old keys.
        if (this.channels.has(frame.channel)) this.heard.begin(frame.channel);
        break;
      case 'position':
        this.place = { epoch: frame.epoch, offset: frame.offset };
        break;
      case 'gap':
        if (frame.channel === undefined) {
          // Offsets begin anew.
          if (frame.epoch !== this.place.epoch || frame.offset < this.place.offset) this.seen.clear();
          this.place = { epoch: frame.epoch, offset: frame.offset };
        }
        this.heard.gap(frame);
        break;
      case 'error':
        this.error = frame.message;
        if (frame.channel ?? command?.channel) this.heard.refused(frame.channel ?? command.channel, frame);
        break;
      default:
      // Something of a newer protocol.
    }
  }

  /** Says what was chosen while the connection was being made. */
  catchUpWithChoices() {
    for (const channel of this.channels) if (!this.asked.includes(channel)) this.command('subscribe', channel);
    for (const channel of this.asked) if (!this.channels.has(channel)) this.command('unsubscribe', channel);
  }

  message(message) {
    if (message.key === undefined && message.offset !== undefined) {
      if (!message.recovered) this.place = { epoch: this.place.epoch, offset: message.offset };
      if (message.offset <= (this.seen.get(message.channel) ?? 0)) return;
      this.seen.set(message.channel, message.offset);
    }
    this.heard.message(message);
  }

  closed(code, reason) {
    const wasGood = this.state.name === 'connected' && Date.now() - this.since > GOOD_AFTER;
    if (this.state.name === 'connected') this.tries = 0;
    this.drop(1000);
    const why = { code, reason, message: this.error };
    if (code !== undefined && staysAway(code)) {
      this.setState({ name: 'closed', ...why });
      return;
    }
    // Half of the wait is left to chance, so that a server's clients don't all come at once.
    const wait = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.tries) * (0.5 + Math.random() / 2);
    const pause = atOnce(code) && wasGood ? 0 : wait;
    this.tries += 1;
    this.setState({ name: 'waiting', until: Date.now() + pause, ...why });
    this.timer = setTimeout(() => this.open(), pause);
  }
}
