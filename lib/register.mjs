// The preload: `node --import waymark/register <runner> …`.
//
// It imports nothing, because it is paid for by every process it is put before. Only a process that
// looks like a runner's step goes further.

const words = process.argv.slice(2);
const names = ['--step', '--resume', '--resume-step'];
if (words.includes('--run-id') && names.some((name) => words.includes(name))) {
  const { createRequire } = process.getBuiltinModule('node:module');
  const { load } = createRequire(import.meta.url)('./start.js');
  // The runner waits until it is known which step it is to run.
  await load('lib/attach.js').attach();
}
