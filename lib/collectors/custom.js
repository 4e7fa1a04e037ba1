// Collectors of the caller's own: functions, or modules by path. A module runs in a thread of its own, which is
// ended when its time is over; a function that never gives the thread back can't be stopped by anybody.

const path = require('node:path');
const { MessageChannel, receiveMessageOnPort, Worker } = require('node:worker_threads');
const { limited } = require('../time-limit.js');

/**
 * @typedef {import('../fingerprint.js').Context} Context
 */

/** @param {Context} context what a collector is told */
function toldTo({ root, runDir, runId }) {
  return { root, runDir, runId };
}

/**
 * @param {string} module
 * @param {Context} context
 * @param {SharedArrayBuffer} [bell]
 */
function started(module, context, bell) {
  const { port1, port2 } = new MessageChannel();
  const file = path.resolve(context.root, module);
  const worker = new Worker(path.join(__dirname, 'worker.js'), {
    workerData: { file, context: toldTo(context), port: port2, bell },
    transferList: [port2],
    execArgv: [],
    stdout: true,
    stderr: true,
  });
  // What it throws when nobody waits for it any more must not end this process.
  worker.on('error', () => {});
  worker.unref();
  port1.unref();
  return { worker, port: port1 };
}

/** @param {any} answer @returns {unknown} */
function toldBy(answer) {
  if (answer?.failed !== undefined) return { failed: String(answer.failed) };
  return notTooDeep(JSON.parse(answer.text));
}

/** What the manifest takes, with room for what is around it. */
const LEVELS_MAX = 24;

/** @param {unknown} value */
function notTooDeep(value) {
  /** @param {unknown} one @param {number} level @returns {boolean} */
  const isDeep = (one, level) =>
    typeof one === 'object' &&
    one !== null &&
    (level > LEVELS_MAX || Object.values(one).some((inner) => isDeep(inner, level + 1)));
  if (isDeep(value, 1)) throw new Error(`nested deeper than ${LEVELS_MAX} levels`);
  return value;
}

/** @param {string} module @param {Context} context @returns {Promise<unknown>} */
async function inThread(module, context) {
  const { worker, port } = started(module, context);
  const answered = new Promise((resolve, reject) => {
    /** @param {any} answer */
    const take = (answer) => {
      try {
        resolve(toldBy(answer));
      } catch (error) {
        reject(error);
      }
    };
    port.once('message', take);
    worker.once('error', reject);
    // Node may tell of a thread's end before it hands over what the thread said.
    worker.once('exit', () => {
      const left = receiveMessageOnPort(port);
      take(left === undefined ? { failed: 'it ended without a word' } : left.message);
    });
  });
  port.ref();
  try {
    return await limited(answered, context.timeoutMs);
  } finally {
    port.close();
    await worker.terminate();
  }
}

/** @param {string} module @param {Context} context @returns {unknown} */
function inThreadSync(module, context) {
  const bell = new SharedArrayBuffer(4);
  const { worker, port } = started(module, context, bell);
  try {
    const rung = Atomics.wait(new Int32Array(bell), 0, 0, context.timeoutMs);
    const answer = receiveMessageOnPort(port);
    if (answer) return toldBy(answer.message);
    return { failed: rung === 'timed-out' ? `no answer in ${context.timeoutMs} ms` : 'no answer' };
  } finally {
    port.close();
    worker.terminate();
  }
}

/** @param {unknown} value @returns {unknown} as it will be read back */
function asJson(value) {
  const text = JSON.stringify(value);
  if (text === undefined) throw new Error('it told nothing');
  return notTooDeep(JSON.parse(text));
}

/** @param {unknown} error @returns {{ failed: string }} */
function failure(error) {
  return { failed: String(/** @type {Error} */ (error)?.message ?? error) };
}

/** @param {string | Function} one @param {Context} context */
async function ask(one, context) {
  try {
    if (typeof one === 'string') return await inThread(one, context);
    return asJson(await limited(Promise.resolve(one(toldTo(context))), context.timeoutMs));
  } catch (error) {
    return failure(error);
  }
}

/** @param {string | Function} one @param {Context} context */
function askSync(one, context) {
  try {
    if (typeof one === 'string') return inThreadSync(one, context);
    const value = one(toldTo(context));
    if (typeof value?.then === 'function') {
      value.then(undefined, () => {});
      return { failed: 'it is asynchronous, and the checkpoint was not' };
    }
    return asJson(value);
  } catch (error) {
    return failure(error);
  }
}

/** @param {Record<string, string | Function>} collectors @param {Context} context */
async function told(collectors, context) {
  const all = Object.entries(collectors).map(async ([name, one]) => [
    name,
    await ask(one, context),
  ]);
  return Object.fromEntries(await Promise.all(all));
}

/** @type {import('../fingerprint.js').Collector} */
const custom = {
  name: 'custom',
  // Each has its own.
  unlimited: true,
  collect: async (context) =>
    context.declared.collectors === undefined ? null : told(context.declared.collectors, context),
  collectSync: (context) =>
    context.declared.collectors === undefined
      ? null
      : Object.fromEntries(
          Object.entries(context.declared.collectors).map(([name, one]) => [
            name,
            askSync(one, context),
          ]),
        ),
  look: async (context, then) => {
    const declared = context.declared.collectors ?? {};
    const known = Object.entries(declared).filter(([name]) => Object.hasOwn(then, name));
    return told(Object.fromEntries(known), context);
  },
};

module.exports = { custom };
