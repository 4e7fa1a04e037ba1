// The preload: `node --import waymark/register <runner> …`.
//
// It imports nothing, because it is paid for by every process it is put before. Only a process that
// looks like a runner's step goes further.

const words = process.argv.slice(2);
const names = ['--step', '--resume', '--resume-step'];
if (words.includes('--run-id') && names.some((name) => words.includes(name))) {
  // The runner waits until it is known which step it is to run.
  const { createRequire } = process.getBuiltinModule('node:module');
  const start = createRequire(import.meta.url)('./start.js');
  // A process that a step started does no more than look at its arguments.
  if (process.env.WAYMARK_ATTACHED === undefined) {
    const isResumed = words.includes('--resume') || words.includes('--resume-step');
    start.quicken(isResumed ? 'resume' : 'step');
  }
  await start.load('lib/preload.js').attach();
}
