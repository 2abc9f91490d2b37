// Uploads that go on after a lost connection, and after a reload when the same file is chosen again
// (tus 1.0, docs/api.md).

const PIECE_BYTES = 4 * 1024 * 1024;
// Between two tries without progress; then it is given up.
const PAUSES_S = [1, 2, 4, 8, 15, 30, 30, 30];
const STALLED_MS = 90_000;
const PREFIX = "upload:";

// Something that may be over in a while; `answered` where the server itself has trouble.
class Lost extends Error {
  constructor({ answered = false } = {}) {
    super();
    this.answered = answered;
  }
}

// Of each file the address that its bytes go to, for a day. Without storage there is only no reload.

function remember(key, address, expires) {
  try {
    localStorage.setItem(key, JSON.stringify({ address, expires: Date.parse(expires) }));
  } catch { /* none, or full */ }
}

function remembered(key) {
  try {
    const { address, expires } = JSON.parse(localStorage.getItem(key));
    return expires > Date.now() ? address : null;
  } catch {
    return null;
  }
}

function forget(key) {
  try {
    localStorage.removeItem(key);
  } catch { /* there is none */ }
}

try {
  for (const key of Object.keys(localStorage)) {
    if (key.startsWith(PREFIX) && !remembered(key)) forget(key);
  }
} catch { /* there is none */ }

const base64 = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)));

export async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

export class ResumableUpload {
  // `headers` is asked before each request; `onProgress` gets the bytes that are through, `onLost`
  // is called when the connection was lost and will be tried again.
  constructor(file, { url, headers, onProgress, onLost }) {
    Object.assign(this, { file, url, headers, onProgress, onLost });
    this.key = `${PREFIX}${file.name}:${file.size}:${file.lastModified}`;
    this.address = null;
    this.offset = 0;
    this.request = null;
    this.cancelled = false;
    this.goOn = null;
  }

  // Resolves to what a plain upload is answered with: status, body and retryAfter. The status is 409
  // where the server has no room for another unfinished upload. Rejects when the connection stays away.
  async send() {
    this.address = remembered(this.key);
    for (let failures = 0; ; failures += 1) {
      const before = this.offset;
      try {
        return await this.sendRest();
      } catch (error) {
        if (!(error instanceof Lost) || this.cancelled) throw error;
        if (this.offset > before) failures = 0;
        if (failures >= PAUSES_S.length || !(await isReadable(this.file))) throw error;
        this.onLost();
        await this.pause(PAUSES_S[failures]);
      }
    }
  }

  // Stops, and has the server forget it.
  cancel() {
    this.cancelled = true;
    this.request?.abort();
    this.goOn?.();
    if (this.address) this.ask("DELETE", this.address).catch(() => {});
    forget(this.key);
  }

  async sendRest() {
    const refused = this.address ? await this.find() : await this.begin();
    if (refused) return refused;
    while (this.offset < this.file.size) {
      this.onProgress(this.offset);
      const piece = this.file.slice(this.offset, this.offset + PIECE_BYTES);
      const answer = await this.ask("PATCH", this.address, {
        "Content-Type": "application/offset+octet-stream", "Upload-Offset": this.offset,
      }, piece);
      // Something else wrote to it, or it has run out: ask how far it is.
      if ([404, 409, 410, 423].includes(answer.status)) throw new Lost();
      if (answer.status !== 204) return this.settled(answer);
      this.offset = Number(answer.header("Upload-Offset"));
    }
    const { status, body, retryAfter } = await this.ask("GET", this.address);
    if (status !== 200) return { status, body, retryAfter };
    forget(this.key);
    if (body.state === "finishing") throw new Lost({ answered: true }); // by another request
    if (body.photo) return { status: 200, body: { id: body.photo, duplicate: body.duplicate } };
    this.address = null; // the photo was deleted since: upload it again
    throw new Lost();
  }

  async begin() {
    const answer = await this.ask("POST", this.url, {
      "Upload-Length": this.file.size, "Upload-Metadata": `filename ${base64(this.file.name)}`,
    });
    if (answer.status !== 201) return answer;
    this.address = answer.header("Location");
    this.offset = 0;
    remember(this.key, this.address, answer.header("Upload-Expires"));
    return null;
  }

  async find() {
    const answer = await this.ask("HEAD", this.address);
    if (answer.status === 200) {
      this.offset = Number(answer.header("Upload-Offset"));
      return null;
    }
    if (answer.status === 423) throw new Lost({ answered: true }); // another request finishes it
    if (![404, 410].includes(answer.status)) return answer;
    forget(this.key);
    this.address = null;
    return this.begin();
  }

  // Nothing more comes of it where the file itself was refused.
  settled(answer) {
    if (answer.status === 400) forget(this.key);
    return answer;
  }

  ask(method, url, headers = {}, body = null) {
    if (this.cancelled && method !== "DELETE") return Promise.reject(new Lost());
    return new Promise((resolve, reject) => {
      const request = (this.request = new XMLHttpRequest());
      let stalled;
      const alive = () => {
        clearTimeout(stalled);
        stalled = setTimeout(() => request.abort(), STALLED_MS);
      };
      const lost = () => reject(new Lost());
      request.open(method, url);
      request.responseType = "json";
      request.setRequestHeader("Tus-Resumable", "1.0.0");
      request.setRequestHeader("Accept", "application/json");
      for (const [name, value] of Object.entries({ ...this.headers(), ...headers })) {
        request.setRequestHeader(name, value);
      }
      if (body) {
        const before = this.offset;
        request.upload.addEventListener("progress", ({ loaded }) => {
          alive();
          this.onProgress(Math.min(before + loaded, this.file.size));
        });
      }
      request.addEventListener("loadend", () => clearTimeout(stalled));
      request.addEventListener("error", lost);
      request.addEventListener("abort", lost);
      request.addEventListener("load", () => {
        // No room on the server, which stays so for longer than one waits.
        if (request.status >= 500 && request.status !== 507) reject(new Lost({ answered: true }));
        else resolve({
          status: request.status,
          body: request.response,
          retryAfter: Number(request.getResponseHeader("Retry-After")),
          header: (name) => request.getResponseHeader(name),
        });
      });
      alive();
      request.send(body);
    });
  }

  // Shorter when the device is back on the net.
  pause(seconds) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.goOn(), seconds * 1000);
      this.goOn = () => {
        clearTimeout(timer);
        removeEventListener("online", this.goOn);
        this.goOn = null;
        resolve();
      };
      addEventListener("online", this.goOn);
    });
  }
}
