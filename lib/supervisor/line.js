// The line between a supervisor and the process of a step: a socket that only the two have. A step that was started
// waits on it until its supervisor has written down that it runs; if the supervisor dies before, it ends without having
// done anything. So no step is ever at work that nobody knows of. Later the step tells on it what became of it.

const fs = require('node:fs');

/** The environment's word for it: the file descriptor, and how often to give a sign of life, in milliseconds. */
const NAME = 'WAYMARK_LINE';

/** @type {number | undefined} */
let line;

/**
 * Waits, in a step's process, for its supervisor's word. Without a supervisor it does nothing.
 * @returns {boolean} false if the supervisor is gone: then nothing may be done
 */
function enter() {
  const value = process.env[NAME];
  if (value === undefined) return true;
  // What this process starts is no step of its own.
  delete process.env[NAME];
  const [fd, beatMs] = value.split(',').map(Number);
  try {
    // Somebody in between did not hand the line on: then this number is something else.
    if (process.platform !== 'win32' && !fs.fstatSync(fd).isSocket()) return true;
  } catch {
    return true;
  }
  if (!readByte(fd)) return false;
  line = fd;
  tell({ entered: true });
  process.on('uncaughtExceptionMonitor', (error) => {
    const { name, code, message, stack } = /** @type {NodeJS.ErrnoException} */ (error ?? {});
    tell({ threw: { name, code, message: String(message ?? error), stack } });
  });
  if (beatMs > 0) beat(fd, beatMs);
  return true;
}

/** @param {number} fd @returns {boolean} false at the end of the line */
function readByte(fd) {
  const byte = Buffer.alloc(1);
  for (;;) {
    try {
      return fs.readSync(fd, byte, 0, 1, null) === 1;
    } catch (error) {
      const { code } = /** @type {NodeJS.ErrnoException} */ (error);
      if (code === 'EOF') return false;
      if (code !== 'EAGAIN' && code !== 'EINTR') return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
    }
  }
}

/**
 * Signs of life, for a supervisor that watches for them. One that does not read them any more gets no second one.
 * @param {number} fd
 * @param {number} ms
 */
function beat(fd, ms) {
  let isUnderWay = false;
  setInterval(() => {
    if (isUnderWay) return;
    isUnderWay = true;
    fs.write(fd, '{"beat":true}\n', () => {
      isUnderWay = false;
    });
  }, ms).unref();
}

/** Tells the supervisor something. @param {Record<string, unknown>} message */
function tell(message) {
  if (line === undefined) return;
  try {
    fs.writeSync(line, `${JSON.stringify(message)}\n`);
  } catch {
    // It is gone; whoever takes over looks at the run itself.
  }
}

module.exports = { NAME, enter, tell };
