// The ports that a run needs, by name: as declared, or as its state says. Whether they are free is only asked
// before a resume: while the run works they are its own.

const net = require('node:net');
const { setTimeout: pause } = require('node:timers/promises');
const { pointed } = require('../json-pointer.js');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 */

/** So long after it was found taken a port is looked at again, at least, in milliseconds. */
const AGAIN_MS = 15;

/** Where a port lies in `run.json` that was declared as a number. @param {string} name */
function pointerOf(name) {
  return `/metadata/ports/${name}`;
}

/** @param {Context} context */
function told({ declared, record }) {
  const { ports } = declared;
  if (ports === undefined) return null;
  return Object.fromEntries(
    Object.entries(ports).map(([name, one]) => {
      const at = typeof one === 'string' ? one : pointerOf(name);
      const found = pointed(record(), at);
      // What the state says is what the run goes by.
      const port = isPort(found) ? found : one;
      if (!isPort(port)) throw new Error(`run.json has no port at ${at} (${name})`);
      return [name, { port, at }];
    }),
  );
}

/** @param {unknown} value */
function isPort(value) {
  return Number.isSafeInteger(value) && Number(value) > 0 && Number(value) < 65_536;
}

/**
 * Listens for an instant.
 * @param {number} port
 * @param {string} [host]
 * @returns {Promise<boolean | null>} null: it can't be told
 */
function listens(port, host) {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', (/** @type {NodeJS.ErrnoException} */ { code }) =>
      resolve(code === 'EADDRINUSE' ? false : null),
    );
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** @param {number} port @returns {Promise<boolean | null>} */
async function isFree(port) {
  // A server on one address does not keep another one from listening on all of them everywhere.
  const all = [await listensBy(port), await listensBy(port, '127.0.0.1')];
  if (all.includes(false)) return false;
  return all.includes(true) ? true : null;
}

/**
 * The same once more: it may be another one who only looks.
 * @param {number} port
 * @param {string} [host]
 */
async function listensBy(port, host) {
  const first = await listens(port, host);
  if (first !== false) return first;
  await pause(AGAIN_MS + Math.random() * AGAIN_MS);
  return listens(port, host);
}

/**
 * Ports that nobody listens on, all different, and different from others that are spoken for.
 * @param {number} count
 * @param {ReadonlySet<number>} taken
 * @returns {Promise<number[]>}
 */
async function freePorts(count, taken) {
  /** @type {net.Server[]} */
  const servers = [];
  /** @param {net.Server} server */
  const portOf = (server) => /** @type {net.AddressInfo} */ (server.address()).port;
  const usable = () => servers.map(portOf).filter((port) => !taken.has(port));
  try {
    while (usable().length < count) {
      const server = net.createServer();
      await new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen({ port: 0, exclusive: true }, () => resolve(undefined));
      });
      servers.push(server);
    }
    return usable();
  } finally {
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  }
}

/** @type {import('../fingerprint.js').Collector} */
const ports = {
  name: 'ports',
  collect: async (context) => told(context),
  collectSync: told,
  async look(_, then) {
    // Two names may have the same port, and looking at it takes it for an instant.
    /** @type {Map<number, Promise<boolean | null>>} */
    const asked = new Map();
    const found = Object.entries(then).map(async ([name, { port, at }]) => {
      const free = asked.get(port) ?? isFree(port);
      asked.set(port, free);
      return [name, { port, at, free: await free }];
    });
    return Object.fromEntries(await Promise.all(found));
  },
};

module.exports = { freePorts, ports };
