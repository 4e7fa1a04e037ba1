// The preload: `node --import waymark/register <runner> …`.
//
// Kept tiny, because it is paid for by every process it is put before. Only a process that looks like
// a runner's step goes further.

import { createRequire } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const words = process.argv.slice(2);
const names = ['--step', '--resume', '--resume-step'];
if (isMainThread && words.includes('--run-id') && names.some((name) => words.includes(name))) {
  createRequire(import.meta.url)('./preload.js').attach();
}
