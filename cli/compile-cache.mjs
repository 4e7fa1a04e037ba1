// What Node compiled of this command before is taken again: a command is started often, and waits for that each time. Of
// the bundles it is what resumed steps kept (lib/compiled.js); the rest Node itself keeps, from 22.8 on, in the folder for
// temporary files, by user and version. NODE_DISABLE_COMPILE_CACHE=1 turns both off. Imported before all else. Only here
// all of a process: a runner's own is not ours to change.

import module from 'node:module';

/** @type {{ enableCompileCache?: () => unknown }} */ (module).enableCompileCache?.();
module
  .createRequire(import.meta.url)('../lib/start.js')
  .quicken('resume');
