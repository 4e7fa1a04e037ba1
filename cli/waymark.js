#!/usr/bin/env node
// The `waymark` command begins here, and goes on in main.mjs. A command is started often, and each time somebody waits, so
// it begins as a CommonJS file: Node has to load nothing for that. What is published of the rest is CommonJS as well, in a
// bundle (scripts/bundle.mjs).
//
// What Node compiled of the bundles is taken again, and kept by a command that resumes (lib/compiled.js); the rest Node
// itself keeps, from 22.8 on, in the folder for temporary files, by user and version. NODE_DISABLE_COMPILE_CACHE=1 turns
// both off. Only here all of a process: a runner's own is not ours to change.

const node = require('node:module');
const start = require('../lib/start.js');

/** @type {{ enableCompileCache?: () => unknown }} */ (node).enableCompileCache?.();
start.quicken('command');
start.run('cli/main.mjs');
