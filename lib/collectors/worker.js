// A collector's thread: asks one module, answers once.

const { pathToFileURL } = require('node:url');
const { workerData } = require('node:worker_threads');

const { file, context, port, bell } = workerData;

/** @param {{ text: string } | { failed: string }} message */
function answer(message) {
  port.postMessage(message);
  if (!bell) return;
  const rung = new Int32Array(bell);
  Atomics.store(rung, 0, 1);
  Atomics.notify(rung, 0);
}

import(pathToFileURL(file).href)
  .then(async (module) => {
    const collect = module.default ?? module;
    const text = JSON.stringify(await collect(context));
    answer(text === undefined ? { failed: 'it told nothing' } : { text });
  })
  .catch((error) => answer({ failed: String(error?.message ?? error) }));
