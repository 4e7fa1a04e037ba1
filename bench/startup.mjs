// What the preload adds to the start of a process that is no runner.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { installed } from './lib/fixtures.mjs';
import { interleave } from './lib/sampling.mjs';
import { median, row } from './lib/statistics.mjs';

const BOUND_MS = 10;

/** @param {string[]} words */
function start(words) {
  const { status, stderr } = spawnSync(process.execPath, [...words, '-e', '0']);
  if (status !== 0) throw new Error(`node ${words.join(' ')} failed: ${stderr}`);
}

/**
 * @param {string} folder
 * @returns {Promise<(import('./lib/statistics.mjs').Row | import('./lib/statistics.mjs').Gap)[]>}
 */
export async function benchStartup(folder) {
  const register = path.join(installed(folder), 'lib', 'register.mjs');
  const name = 'node --import waymark/register -e 0, above node -e 0';
  // How much of it is the price of any preload at all.
  const empty = path.join(folder, 'empty.mjs');
  fs.writeFileSync(empty, '');
  const href = (/** @type {string} */ file) => pathToFileURL(file).href;
  const samples = await interleave(
    {
      plain: { run: () => start([]) },
      register: { run: () => start(['--import', href(register)]) },
      empty: { run: () => start(['--import', href(empty)]) },
    },
    { rounds: 40, warmUp: 3 },
  );
  const above = (/** @type {number[]} */ times) =>
    times.map((time, at) => time - samples.plain[at]);
  const added = above(samples.register);
  return [
    row('startup', 'node -e 0', samples.plain),
    row('startup', 'an empty module by --import, above node -e 0', above(samples.empty)),
    {
      ...row('startup', name, added),
      figure: median(added),
      figureUnit: 'ms',
      bound: BOUND_MS,
    },
  ];
}
