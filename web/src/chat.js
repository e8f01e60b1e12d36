// Chat: to everybody or to one member. What other programs send is shown as it is.

export class Chat {
  #unread = 0;

  constructor(panel, { room, onUnread, onFailed }) {
    this.panel = panel;
    this.room = room;
    this.onUnread = onUnread;
    this.list = panel.querySelector("#messages");
    this.form = panel.querySelector("form");
    this.input = panel.querySelector("#message");
    this.recipient = panel.querySelector("#recipient");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.input.value.trim();
      if (!text) return;
      const to = this.recipient.value;
      (to ? this.sendTo(to, text) : this.send(text)).then(() => this.form.reset(), onFailed);
      this.recipient.value = to;
    });
    room.on("message", (message) => this.#show(message));
  }

  async send(content) {
    await this.room.send(wrap(content));
    this.#show({ own: true, data: wrap(content) });
  }

  async sendTo(peerId, content) {
    await this.room.sendTo(peerId, wrap(content));
    const name = this.room.members.get(peerId)?.name ?? peerId;
    this.#show({ own: true, direct: true, name, data: wrap(content) });
  }

  set open(on) {
    this.panel.hidden = !on;
    if (on) {
      this.#unread = 0;
      this.onUnread(0);
      this.list.scrollTop = this.list.scrollHeight;
    }
  }

  get open() {
    return !this.panel.hidden;
  }

  /** Keep the list of recipients in step with the room, and the choice made in it. */
  render() {
    const chosen = this.recipient.value;
    const options = [new Option("Everyone", "")];
    for (const member of this.room.members.values()) options.push(new Option(member.name, member.id));
    const key = options.map(({ value, text }) => value + text).join("\n");
    if (key === this.recipientKey) return;
    this.recipientKey = key;
    this.recipient.replaceChildren(...options);
    this.recipient.value = this.room.members.has(chosen) ? chosen : "";
  }

  clear() {
    this.list.replaceChildren();
  }

  #show({ own = false, name, data, direct = false }) {
    const item = document.createElement("li");
    item.className = own ? "own" : "";
    const head = document.createElement("p");
    head.className = "who";
    const who = document.createElement("b");
    who.textContent = own ? (direct ? `You to ${name}` : "You") : name;
    head.append(who);
    if (direct) head.append(tag("direct"));
    const time = document.createElement("time");
    time.textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    head.append(time);
    const body = document.createElement("p");
    body.className = "text";
    const text = textOf(data);
    body.textContent = text ?? JSON.stringify(data);
    body.classList.toggle("raw", text === null);
    item.append(head, body);
    const atEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    this.list.append(item);
    if (this.list.children.length > 500) this.list.firstElementChild.remove();
    if (atEnd || own) this.list.scrollTop = this.list.scrollHeight;
    if (!this.open && !own) this.onUnread(++this.#unread);
  }
}

const wrap = (content) => (typeof content === "string" ? { type: "chat", text: content } : content);

function textOf(data) {
  if (typeof data === "string") return data;
  return typeof data?.text === "string" ? data.text : null;
}

function tag(text) {
  const element = document.createElement("span");
  element.className = "tag";
  element.textContent = text;
  return element;
}
