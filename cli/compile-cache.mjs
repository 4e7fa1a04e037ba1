// Has what Node compiled of this command kept for its next start: a command is started often, and waits for that each
// time. The bundles lie with the package (lib/compiled.js); the rest Node itself keeps, from 22.8 on, in the folder for
// temporary files, by user and version. NODE_DISABLE_COMPILE_CACHE=1 turns both off. Imported before all else. Only here
// all of a process: a runner's own is not ours to change.

import module from 'node:module';

/** @type {{ enableCompileCache?: () => unknown }} */ (module).enableCompileCache?.();
module
  .createRequire(import.meta.url)('../lib/start.js')
  .quicken();
