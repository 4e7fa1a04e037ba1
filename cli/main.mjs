// The `waymark` command: finds the verb, reads its words, runs it, and is the only place that prints
// and sets the exit code. Each command is imported when its verb is used; the addon, when it works.

import { UsageError } from './input.mjs';
import { commander, lib, version, waymark } from './library.mjs';
import { plainLines, styleFor } from './output.mjs';

const { Command, CommanderError, Option } = commander;

/**
 * @typedef {import('./input.mjs').Definition} Definition
 * @typedef {import('./input.mjs').Result} Result
 * @typedef {import('./input.mjs').Command} Verb
 */

const FAILED = 1;
/** 128 and the number of SIGINT. */
const ABORTED = 130;

/** @type {[code: string, about: string][]} */
const EXITS = [
  ['0', 'done'],
  ['1', 'refused or failed; also misuse'],
];

/** @type {Record<string, () => Promise<Verb>>} */
const VERBS = {
  create: () => import('./commands/create.mjs'),
  restore: () => import('./commands/restore.mjs'),
  undo: () => import('./commands/undo.mjs'),
  recover: () => import('./commands/recover.mjs'),
  list: () => import('./commands/list.mjs'),
  show: () => import('./commands/show.mjs'),
  timeline: () => import('./commands/timeline.mjs'),
  drill: () => import('./commands/drill.mjs'),
  diff: () => import('./commands/diff.mjs'),
  files: () => import('./commands/files.mjs'),
  cat: () => import('./commands/cat.mjs'),
  query: () => import('./commands/query.mjs'),
  tree: () => import('./commands/tree.mjs'),
  index: () => import('./commands/index.mjs'),
  update: () => import('./commands/update.mjs'),
  activate: () => import('./commands/activate.mjs'),
  complete: () => import('./commands/complete.mjs'),
  fail: () => import('./commands/fail.mjs'),
  pin: () => import('./commands/pin.mjs'),
  unpin: () => import('./commands/unpin.mjs'),
  fork: () => import('./commands/fork.mjs'),
  export: () => import('./commands/export.mjs'),
  import: () => import('./commands/import.mjs'),
  verify: () => import('./commands/verify.mjs'),
  events: () => import('./commands/events.mjs'),
  stats: () => import('./commands/stats.mjs'),
  health: () => import('./commands/health.mjs'),
  prune: () => import('./commands/prune.mjs'),
  archived: () => import('./commands/archived.mjs'),
  unarchive: () => import('./commands/unarchive.mjs'),
  cleanup: () => import('./commands/cleanup.mjs'),
  gc: () => import('./commands/gc.mjs'),
  status: () => import('./commands/status.mjs'),
  runs: () => import('./commands/runs.mjs'),
  pause: () => import('./commands/pause.mjs'),
  run: () => import('./commands/run.mjs'),
  resume: () => import('./commands/resume.mjs'),
  failures: () => import('./commands/failures.mjs'),
  decide: () => import('./commands/decide.mjs'),
  doctor: () => import('./commands/doctor.mjs'),
};

const HELP = `
Exit codes:
  0  done
  1  refused or failed; also a command line that can't be understood
  3  verify: a checkpoint is damaged; export: something is left out; doctor: a promise does not hold, or can't be told;
     diff --exit-code: something differs; health: a threshold is crossed; drill: something is not survived
  130  stopped by Ctrl-C: create, restore, undo, diff, fork, export, import, verify, gc, prune, unarchive, cleanup and
     events --follow
  75  run: paused, or waiting for a decision, an approval or a worker
  resume ends with the exit code of the command that it starts; 75 then says that the run was paused behind its step.

Environment:
  WAYMARK_RUNS_DIR  the folder that holds all runs, unless --runs-dir or --root is given
  NO_COLOR          no colours on a terminal

Where runs are looked for: --runs-dir, --root, WAYMARK_RUNS_DIR, waymark.config.json, then
.claude/context/runtime/runs and .claude/context/runs in the working directory and above it.

Results go to standard output, everything else to standard error. With --json, each line on
standard error is {"notice": "…"} or {"error": {"code", "message", …}}.

Examples:
  waymark create demo --step 1.5
  waymark list demo
  waymark resume demo -- node .claude/tools/workflow_runner.js --workflow flow.yaml
  waymark cleanup --dry-run

waymark <command> --help tells more about a command.`;

// Words after -- are another command's (resume), or arguments.
const words = process.argv.slice(2);
const end = words.includes('--') ? words.indexOf('--') : words.length;
const own = words.slice(0, end);
const rest = end < words.length ? words.slice(end + 1) : undefined;
const json = own.includes('--json');

// If it never comes to an end, that is no success.
const unfinished = () => {
  process.exitCode = FAILED;
};
process.once('exit', unfinished);
main().then((code) => {
  process.off('exit', unfinished);
  process.exitCode = code;
});

/** @returns {Promise<number>} the exit code */
async function main() {
  const verb = verbOf(own);
  const names = verb !== undefined && Object.hasOwn(VERBS, verb) ? [verb] : Object.keys(VERBS);
  const program = newProgram();
  /** @type {Result | undefined} */
  let result;
  try {
    for (const name of names) {
      const command = await VERBS[name]();
      addCommand(program, command.definition, async (args, options) => {
        const { runsDir, root } = options;
        const manager = new waymark.CheckpointManager({ runsDir, root });
        result = await command.run({ manager, args, options, tell, command: rest });
      });
    }
    const after = rest === undefined || verb === 'resume' || verb === 'run' ? [] : ['--', ...rest];
    await program.parseAsync([...own, ...after], { from: 'user' });
    if (result === undefined) return 0;
    print(result);
    if (result.start) {
      const { start } = await import('./start.mjs');
      try {
        return await start(result.start.words, result.start.env);
      } finally {
        // If it can't be given back, it ends with this process.
        await result.start.ended?.()?.catch(() => {});
        // By now it has called what others will.
        lib.compiled.keepCompiled();
      }
    }
    return result.exitCode ?? 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    printError(error, usageOf(program, verb));
    return /** @type {{ code?: unknown }} */ (error).code === 'ERR_ABORTED' ? ABORTED : FAILED;
  }
}

/**
 * The first word that is neither an option nor a global option's value.
 * @param {string[]} words
 * @returns {string | undefined}
 */
function verbOf(words) {
  for (let at = 0; at < words.length; at += 1) {
    if (words[at] === '--runs-dir' || words[at] === '--root') at += 1;
    else if (!words[at].startsWith('-')) return words[at];
  }
  return undefined;
}

/** @returns {InstanceType<typeof Command>} */
function newProgram() {
  return (
    new Command('waymark')
      .description(
        'Durable checkpoints for workflow runners: a killed run goes on at the right step.',
      )
      .usage('<command> [options]')
      .version(version, '-V, --version', 'print the version')
      .option('--runs-dir <path>', 'the folder that holds all runs')
      .option('--root <path>', "the project's folder, below which the runs are looked for")
      .option('--json', 'print the result, notices and errors as JSON')
      .helpOption('-h, --help', 'print help')
      .addHelpText('after', HELP)
      .configureHelp({ showGlobalOptions: true, subcommandTerm: (command) => command.name() })
      // What is misunderstood is printed with the other errors; only help asked for is printed here.
      .configureOutput({ writeOut: (text) => write(process.stdout, text), writeErr: () => {} })
      .exitOverride()
  );
}

/**
 * @param {InstanceType<typeof Command>} program
 * @param {Definition} definition
 * @param {(args: (string | undefined)[], options: Record<string, any>) => Promise<void>} action
 */
function addCommand(program, definition, action) {
  const command = program
    .command(definition.name)
    .summary(definition.summary)
    .description(definition.about)
    .usage(definition.usage)
    .addHelpText('after', helpAfter(definition));
  for (const [name, about] of definition.arguments) {
    // Those in brackets are optional; so is a run that can also be given by --run-id.
    const required = definition.usage.includes(`<${name}>`) && !takesRunId(definition, name);
    command.argument(required ? `<${name}>` : `[${name}]`, about);
  }
  for (const { flags, about, parse, required, conflicts } of definition.options) {
    const option = new Option(flags, about);
    if (parse) option.argParser(parse);
    if (required) option.makeOptionMandatory();
    if (conflicts) option.conflicts(conflicts);
    command.addOption(option);
  }
  command.action(async () => {
    await action(command.processedArgs, command.optsWithGlobals());
  });
}

/** @param {Definition} definition @param {string} argument */
function takesRunId({ options }, argument) {
  return argument === 'run' && options.some(({ flags }) => flags.startsWith('--run-id '));
}

/** @param {Definition} definition @returns {string} */
function helpAfter({ examples, exits }) {
  const codes = exits ?? EXITS;
  const width = Math.max(...codes.map(([code]) => code.length));
  const lines = ['', 'Examples:'];
  for (const [line, about] of examples) {
    if (about !== '') lines.push(`  # ${about}`);
    lines.push(`  ${line}`);
  }
  lines.push('', 'Exit codes:');
  for (const [code, about] of codes) lines.push(`  ${code.padEnd(width)}  ${about}`);
  lines.push('', 'Environment:', '  WAYMARK_RUNS_DIR  the folder that holds all runs');
  return lines.join('\n');
}

/**
 * @param {InstanceType<typeof Command>} program
 * @param {string | undefined} verb
 * @returns {string}
 */
function usageOf(program, verb) {
  const command = program.commands.find((one) => one.name() === verb);
  return command ? `waymark ${verb} ${command.usage()}` : `waymark ${program.usage()}`;
}

/** Says at once what is worth knowing. @param {string} notice */
function tell(notice) {
  say({ notice }, notice);
}

/** @param {Result} result */
function print({ data, text, bytes, notices = [], start, onStderr, printed }) {
  for (const notice of notices) tell(notice);
  if (printed) return;
  // Standard output is the started command's own.
  const isForeign = start !== undefined || onStderr === true;
  const stream = isForeign ? process.stderr : process.stdout;
  if (bytes !== undefined && !json) {
    write(stream, bytes);
  } else if (json || text === undefined) {
    write(stream, `${JSON.stringify(data, null, isForeign ? undefined : 2)}\n`);
  } else {
    const shown = text(styleFor(stream, process.env, Date.now()));
    write(stream, isForeign ? `waymark: ${shown}\n` : `${shown}\n`);
  }
}

/**
 * @param {unknown} error
 * @param {string} usage
 */
function printError(error, usage) {
  const misuse = misuseOf(error);
  if (misuse !== undefined) {
    const text = `${misuse}\nusage: ${usage}\n"${/^waymark( [a-z]+)?/.exec(usage)?.[0]} --help" tells more`;
    say({ error: { code: 'ERR_USAGE', message: misuse, usage } }, text);
    return;
  }
  if (error instanceof waymark.WaymarkError) {
    const { code, message, reason, path, runId, checkpointId, skipped, lease } = error;
    const known = { code, message, reason, path, runId, checkpointId, lease };
    say({ error: skipped.length > 0 ? { ...known, skipped } : known }, `${message} [${code}]`);
    return;
  }
  const { message, stack } = /** @type {Error} */ (error);
  say({ error: { code: 'ERR_INTERNAL', message } }, `a defect: ${stack ?? message}`);
}

/**
 * @param {unknown} error
 * @returns {string | undefined} what was misunderstood; undefined for other errors
 */
function misuseOf(error) {
  if (error instanceof UsageError) return error.message;
  if (!(error instanceof CommanderError)) return undefined;
  // Help that is printed because nothing was asked for.
  if (error.code === 'commander.help') return 'the command is missing';
  return error.message.replace(/^error: /, '').replace(/\n/g, ' ');
}

/**
 * Prints what is no result.
 * @param {object} data
 * @param {string} text
 */
function say(data, text) {
  write(process.stderr, json ? `${JSON.stringify(data)}\n` : `waymark: ${plainLines(text)}\n`);
}

/**
 * @param {NodeJS.WriteStream} stream
 * @param {string | Buffer} text
 */
function write(stream, text) {
  if (stream.listenerCount('error') === 0) {
    stream.on('error', (/** @type {NodeJS.ErrnoException} */ { code, message }) => {
      // A reader that has seen enough (`| head`) is no failure.
      if (code === 'EPIPE') return;
      process.exitCode = FAILED;
      if (stream === process.stderr) return;
      const text = `can't print: ${message}`;
      say({ error: { code: 'ERR_IO', message: text } }, `${text} [ERR_IO]`);
    });
  }
  stream.write(text);
}
