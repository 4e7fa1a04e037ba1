// Has Node keep what it compiled of this command, where it can (from 22.8 on): a command is started often, and
// `waymark resume` came to its step 10 to 15 ms sooner. Imported before all else. Node keeps it in the folder for temporary
// files, by user and version; NODE_DISABLE_COMPILE_CACHE=1 turns it off. Only here: a runner's own process is not ours to
// change.

import module from 'node:module';

/** @type {{ enableCompileCache?: () => unknown }} */ (module).enableCompileCache?.();
