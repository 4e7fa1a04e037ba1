// What can be wrong with a resume and what can be done about it, as data. The gate, the command line and
// docs/resume.md go by these tables; nothing else decides.

/**
 * @typedef {'note' | 'change' | 'stale'} Severity how much a reason matters
 *
 * What is known of a kind of reason.
 * @typedef {object} ReasonRow
 * @property {string} about in words
 * @property {Severity} severity unless the policy says otherwise
 * @property {Readonly<Record<string, readonly [severity: Severity, about: string]>>} [kinds] finer ones
 * @property {boolean} [final] it can't be accepted: going on would be refused, or impossible
 * @property {readonly string[]} options what resolves it
 * @property {Readonly<Record<string, readonly string[]>>} [only] options that resolve some kinds of it alone
 *
 * What is known of an option.
 * @typedef {object} OptionRow
 * @property {string} about what it does
 * @property {string} [value] the value it takes
 * @property {boolean} [ends] the run does not go on after it
 */

const ELSEWHERE = /** @type {const} */ ([
  'older_checkpoint',
  'restart_from_step',
  'complete_outside',
  'abandon',
]);

/** Every type of reason. @type {Readonly<Record<string, ReasonRow>>} */
const REASONS = {
  worktree_deleted: {
    about: 'the git worktree that the run worked in is gone',
    severity: 'stale',
    options: ['recreate_worktree', ...ELSEWHERE],
  },
  branch_gone: {
    about: 'the branch that the run worked on is gone',
    severity: 'stale',
    options: ['recreate_branch', ...ELSEWHERE],
  },
  head_moved: {
    about: 'the worktree is at another commit',
    severity: 'stale',
    kinds: {
      ahead: ['change', 'commits were added on top'],
      behind: ['stale', 'commits were taken away'],
      diverged: ['stale', 'history was rewritten, or another line of it is checked out'],
      branch: ['stale', 'another branch is checked out'],
      unknown: ['stale', 'how the two commits belong together can not be told'],
    },
    options: [...ELSEWHERE],
  },
  dirty_files: {
    about: 'files of the worktree are not as they were',
    severity: 'change',
    kinds: {
      captured: [
        'change',
        'files that the checkpoint has and puts back, by the `onConflict` there is',
      ],
      conflict: ['stale', 'the same, and `onConflict` is `refuse`'],
      uncaptured: ['change', 'files that the checkpoint does not have'],
    },
    options: ['restore_files', 'restart_from_step', 'complete_outside', 'abandon'],
    only: { restore_files: ['captured', 'conflict'] },
  },
  port_in_use: {
    about: 'a port that the run needs is in use',
    severity: 'stale',
    options: ['new_ports', 'abandon'],
  },
  expired: {
    about: 'the checkpoint is older than it may be',
    severity: 'stale',
    kinds: {
      age: ['stale', 'older than `maxAge`, or past its own `expires`'],
      future: ['change', 'it was taken in the future: a clock was set back'],
    },
    options: ['restart_from_step', 'fork', 'complete_outside', 'abandon'],
  },
  workflow_changed: {
    about: 'the workflow file is not what it was',
    severity: 'stale',
    kinds: {
      content: ['change', 'the same steps in the same order'],
      ahead: ['change', 'steps that are still to do were changed'],
      behind: ['stale', 'steps before the checkpoint were added, removed or reordered'],
    },
    options: ['older_checkpoint', 'restart_from_step', 'complete_outside', 'abandon'],
    only: { older_checkpoint: ['behind'] },
  },
  step_missing: {
    about: 'the workflow file does not list the step of the checkpoint',
    severity: 'stale',
    final: true,
    options: ['older_checkpoint', 'restart_from_step', 'abandon'],
  },
  version_changed: {
    about: 'a version is not what it was',
    severity: 'change',
    kinds: {
      node: ['change', 'another major version of Node'],
      minor: ['note', 'another version of Node with the same major'],
      lock: ['change', 'another package lock'],
      waymark: ['note', 'another version of Waymark'],
      tool: ['change', 'another version of a declared tool'],
    },
    options: ['restart_from_step', 'complete_outside', 'abandon'],
  },
  state_damaged: {
    about: 'the state of the run, or a checkpoint, is damaged',
    severity: 'change',
    kinds: {
      run: ['change', '`run.json` or the registry is missing or damaged; a restore puts it back'],
      passed_over: ['change', 'newer checkpoints are damaged and were passed over'],
      checkpoint: ['stale', 'the checkpoint that was asked for is damaged'],
    },
    options: ['restore_files', 'older_checkpoint', 'restart_from_step', 'fork', 'abandon'],
    only: {
      restore_files: ['run'],
      older_checkpoint: ['checkpoint'],
      restart_from_step: ['passed_over', 'checkpoint'],
      fork: ['run', 'passed_over'],
      abandon: ['passed_over', 'checkpoint'],
    },
  },
  artifact_missing: {
    about: 'an artifact is gone',
    severity: 'stale',
    kinds: {
      captured: ['change', 'the checkpoint has it and can put it back'],
      uncaptured: ['stale', 'it could not be captured with the checkpoint'],
      unknown: ['change', 'the checkpoint does not say whether it was there'],
    },
    options: ['restore_files', ...ELSEWHERE],
    only: { restore_files: ['captured'] },
  },
  artifact_changed: {
    about: 'an artifact is not as it was',
    severity: 'change',
    options: ['restore_files', ...ELSEWHERE],
  },
  checkpoint_partial: {
    about: 'something could not be captured with the checkpoint',
    severity: 'change',
    options: [...ELSEWHERE],
  },
  lease_held: {
    about: 'somebody works on the run',
    severity: 'stale',
    final: true,
    options: ['wait', 'fork'],
  },
  run_ended: {
    about: 'the run has ended',
    severity: 'stale',
    kinds: {
      completed: ['stale', 'it is completed'],
      cancelled: ['stale', 'it was cancelled'],
    },
    options: ['restart_from_step', 'fork'],
  },
  variable_changed: {
    about: 'an environment variable that the run needs is not what it was',
    severity: 'change',
    kinds: {
      changed: ['change', 'it has another value'],
      missing: ['stale', 'it is not set any more'],
      added: ['change', 'it was not set then'],
    },
    options: ['restart_from_step', 'complete_outside', 'abandon'],
  },
  tool_missing: {
    about: 'a tool that the run needs is not found any more',
    severity: 'stale',
    options: ['complete_outside', 'abandon'],
  },
  file_changed: {
    about: 'a file that the run needs is not what it was',
    severity: 'change',
    kinds: {
      changed: ['change', 'it has other content'],
      missing: ['stale', 'it is gone'],
      added: ['change', 'it was not there then'],
    },
    options: ['older_checkpoint', 'restart_from_step', 'complete_outside', 'abandon'],
  },
  host_changed: {
    about: 'this is another machine',
    severity: 'change',
    kinds: {
      name: ['note', 'another host of the same kind'],
      platform: ['change', 'another operating system or processor'],
    },
    options: ['restart_from_step', 'complete_outside', 'abandon'],
  },
  custom_changed: {
    about: 'what a collector of your own tells is not what it was',
    severity: 'change',
    options: ['older_checkpoint', 'restart_from_step', 'complete_outside', 'abandon'],
  },
  not_known: {
    about: 'something could not be compared',
    severity: 'note',
    kinds: {
      before: ['note', 'it could not be told when the checkpoint was taken'],
      now: ['change', 'it can not be told now'],
      fingerprint: ['note', 'the checkpoint has no fingerprint'],
    },
    options: [...ELSEWHERE],
  },
};

/** Every option. @type {Readonly<Record<string, OptionRow>>} */
const OPTIONS = {
  accept: {
    about: 'go on as it is; what was accepted is recorded in the checkpoint that follows',
  },
  recreate_worktree: {
    about: 'makes the worktree again, at its old place, from its branch',
  },
  recreate_branch: {
    about: 'makes the branch again at the commit it was at, if that commit is still there',
  },
  new_ports: {
    about:
      'takes free ports in place of those in use, and puts them into the state of the run (`run.json`)',
  },
  restore_files: {
    about: 'puts state and captured files back over what is there; `waymark undo` brings that back',
  },
  older_checkpoint: {
    about: 'goes back to the newest older checkpoint that is good and not stale',
  },
  restart_from_step: {
    about:
      'does that step again, after the checkpoint before it; from the first step: without a checkpoint',
    value: 'step',
  },
  fork: {
    about: 'begins another run where this one was, which goes on in its place',
    value: 'new run',
  },
  wait: {
    about: 'waits until nobody works on the run, at most so long (default 60s)',
    value: 'span',
  },
  complete_outside: {
    about:
      'takes the next step as done by somebody else: a checkpoint of it is taken of how things are now',
  },
  abandon: {
    about:
      'ends the run: `cancelled`; of its checkpoints the newest stays, the space of the others is freed',
    ends: true,
  },
};

/** @typedef {keyof typeof OPTIONS} OptionName */

/**
 * How much a kind of reason matters if the policy says nothing.
 * @param {string} type
 * @param {string | undefined} kind
 * @returns {Severity}
 */
function severityOf(type, kind) {
  const row = REASONS[type];
  return (kind === undefined ? undefined : row.kinds?.[kind]?.[0]) ?? row.severity;
}

/**
 * The options of a reason.
 * @param {string} type
 * @param {string | undefined} kind
 * @returns {string[]}
 */
function optionsOf(type, kind) {
  const { final, options, only = {} } = REASONS[type];
  const own = options.filter(
    (name) => only[name] === undefined || (kind !== undefined && only[name].includes(kind)),
  );
  return isFinal(final, type, kind) ? own : ['accept', ...own];
}

/**
 * @param {boolean | undefined} final
 * @param {string} type
 * @param {string | undefined} kind
 */
function isFinal(final, type, kind) {
  if (final === true) return true;
  // A restore would refuse.
  return (
    `${type}.${kind}` === 'state_damaged.checkpoint' || `${type}.${kind}` === 'dirty_files.conflict'
  );
}

/** @param {string} type @param {string | undefined} kind */
function isAcceptable(type, kind) {
  return !isFinal(REASONS[type].final, type, kind);
}

/**
 * The tables as docs/resume.md has them.
 * @returns {{ reasons: string, options: string }} Markdown
 */
function tables() {
  const reasons = ['| reason | kind | is | severity | options |', '|---|---|---|---|---|'];
  for (const [type, row] of Object.entries(REASONS)) {
    const kinds = Object.entries(row.kinds ?? {});
    /** @param {string | undefined} kind */
    const listed = (kind) =>
      optionsOf(type, kind)
        .map((name) => `\`${name}\``)
        .join(' ');
    if (kinds.length === 0) {
      const { about, severity } = row;
      reasons.push(`| \`${type}\` | – | ${about} | ${severity} | ${listed(undefined)} |`);
    }
    for (const [kind, [severity, about]] of kinds) {
      const words = `${row.about}: ${about}`;
      reasons.push(`| \`${type}\` | \`${kind}\` | ${words} | ${severity} | ${listed(kind)} |`);
    }
  }
  const options = ['| option | value | does |', '|---|---|---|'];
  for (const [name, { about, value }] of Object.entries(OPTIONS)) {
    options.push(`| \`${name}\` | ${value ?? '–'} | ${about} |`);
  }
  return { reasons: reasons.join('\n'), options: options.join('\n') };
}

module.exports = { REASONS, OPTIONS, isAcceptable, optionsOf, severityOf, tables };
